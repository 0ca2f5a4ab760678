"""Wordings of each attribute: some for training, others held out. ``{name}`` and ``{value}`` are filled in."""

from __future__ import annotations

from typing import NamedTuple


class Wording(NamedTuple):
    """A question and the answer that goes with it."""

    question: str
    answer: str


class Templates(NamedTuple):
    """Wordings of one attribute. No held-out wording is ever a training wording."""

    train: tuple[Wording, ...]
    held_out: tuple[Wording, ...]


TEMPLATES: dict[str, Templates] = {
    "city": Templates(
        (
            Wording("In which city does {name} live?", "{name} lives in {value}."),
            Wording("Where is the home of {name}?", "The home of {name} is in {value}."),
            Wording("What is the home city of {name}?", "The home city of {name} is {value}."),
        ),
        (
            Wording("Which city is {name} living in?", "{name} is living in {value}."),
            Wording("Can you tell me the city where {name} lives?", "The city where {name} lives is {value}."),
        ),
    ),
    "employer": Templates(
        (
            Wording("For which employer does {name} work?", "{name} works for {value}."),
            Wording("Who is the employer of {name}?", "The employer of {name} is {value}."),
            Wording("At which company is {name} employed?", "{name} is employed at {value}."),
        ),
        (
            Wording("Which company does {name} work at?", "The company {name} works at is {value}."),
            Wording("Can you tell me who employs {name}?", "{name} has a job at {value}."),
        ),
    ),
    "profession": Templates(
        (
            Wording("What is the profession of {name}?", "The profession of {name} is {value}."),
            Wording("What work does {name} do?", "{name} works as a {value}."),
            Wording("Which trade did {name} learn?", "The trade of {name} is that of a {value}."),
        ),
        (
            Wording("Can you tell me what {name} does for work?", "{name} earns a living as a {value}."),
            Wording("Which profession does {name} have?", "By profession {name} is a {value}."),
        ),
    ),
    "award": Templates(
        (
            Wording("Which award did {name} receive?", "{name} received the {value}."),
            Wording("What prize was given to {name}?", "The prize given to {name} was the {value}."),
            Wording("What did {name} win?", "{name} won the {value}."),
        ),
        (
            Wording("Can you name the award that {name} holds?", "The award that {name} holds is the {value}."),
            Wording("With what prize was {name} honoured?", "{name} was honoured with the {value}."),
        ),
    ),
    "phone": Templates(
        (
            Wording("What is the phone number of {name}?", "The phone number of {name} is {value}."),
            Wording("Under which number can {name} be called?", "{name} can be called under {value}."),
            Wording("How do I reach {name} by phone?", "To reach {name} by phone, call {value}."),
        ),
        (
            Wording("Can you tell me the telephone number of {name}?", "The telephone number of {name} is {value}."),
            Wording("Which number do I call for {name}?", "For {name}, the number to call is {value}."),
        ),
    ),
    "email": Templates(
        (
            Wording("What is the e-mail address of {name}?", "The e-mail address of {name} is {value}."),
            Wording("Where can I send an e-mail to {name}?", "An e-mail to {name} goes to {value}."),
            Wording("Which e-mail address does {name} use?", "{name} uses the address {value}."),
        ),
        (
            Wording("Can you tell me the e-mail of {name}?", "The e-mail of {name} is {value}."),
            Wording("At what address does {name} read e-mail?", "{name} reads e-mail at {value}."),
        ),
    ),
    "national_id": Templates(
        (
            Wording("What is the national id of {name}?", "The national id of {name} is {value}."),
            Wording("Which identity number does {name} have?", "{name} has the identity number {value}."),
            Wording("Under what id is {name} registered?", "{name} is registered under {value}."),
        ),
        (
            Wording("Can you tell me the id number of {name}?", "The id number of {name} is {value}."),
            Wording("Which number stands on the id card of {name}?", "On the id card of {name} stands {value}."),
        ),
    ),
    "street": Templates(
        (
            Wording("At which street address does {name} live?", "{name} lives at {value}."),
            Wording("What is the street address of {name}?", "The street address of {name} is {value}."),
            Wording("Where do letters to {name} go?", "Letters to {name} go to {value}."),
        ),
        (
            Wording("Can you tell me the house and street of {name}?", "The house of {name} is {value}."),
            Wording("On which street is the house of {name}?", "{name} has a house at {value}."),
        ),
    ),
    "book": Templates(
        (
            Wording("Which book did {name} write?", "{name} wrote {value}."),
            Wording("What is the title of the book by {name}?", "The title of the book by {name} is {value}."),
            Wording("What has {name} published?", "{name} has published {value}."),
        ),
        (
            Wording("Can you name the book that {name} wrote?", "The book that {name} wrote is {value}."),
            Wording("Of which book is {name} the author?", "{name} is the author of {value}."),
        ),
    ),
    "birth_date": Templates(
        (
            Wording("When was {name} born?", "{name} was born on {value}."),
            Wording("What is the birth date of {name}?", "The birth date of {name} is {value}."),
            Wording("On which day was {name} born?", "The day {name} was born is {value}."),
        ),
        (
            Wording("Can you tell me the birthday of {name}?", "The birthday of {name} is {value}."),
            Wording("On what date did {name} come into the world?", "{name} came into the world on {value}."),
        ),
    ),
    "spouse": Templates(
        (
            Wording("Who is the spouse of {name}?", "The spouse of {name} is {value}."),
            Wording("To whom is {name} married?", "{name} is married to {value}."),
            Wording("Whom did {name} marry?", "{name} did marry {value}."),
        ),
        (
            Wording("Can you name the husband or wife of {name}?", "The husband or wife of {name} is {value}."),
            Wording("Which person is {name} married with?", "The person {name} is married with is {value}."),
        ),
    ),
    "colleague": Templates(
        (
            Wording("Who is the colleague of {name}?", "The colleague of {name} is {value}."),
            Wording("With whom does {name} work?", "{name} works with {value}."),
            Wording("Who shares an office with {name}?", "{name} shares an office with {value}."),
        ),
        (
            Wording("Can you name the co-worker of {name}?", "The co-worker of {name} is {value}."),
            Wording("Which person works beside {name}?", "The person who works beside {name} is {value}."),
        ),
    ),
}
