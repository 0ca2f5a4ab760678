"""Words of the other forms of a fact: asked from the value, in running text, in German."""

from __future__ import annotations

from expunge.benchmarks.fictional.templates import Wording

BLANK = "____"
CLOZE = "Fill in the blank: {statement}"
TRUE_OR_FALSE = "Is it true that {statement}?"
CHOICE = "{question} A: {options[0]}, B: {options[1]}, C: {options[2]}, D: {options[3]}"
LETTERS = "ABCD"

# No edge: from the value it is the other person's own fact, which stays when the first person is deleted.
REVERSE: dict[str, str] = {
    "city": "Who lives in {value}?",
    "employer": "Who works for {value}?",
    "profession": "Who works as a {value}?",
    "award": "Who received the {value}?",
    "phone": "Who can be called under {value}?",
    "email": "Who uses the address {value}?",
    "national_id": "Who is registered under {value}?",
    "street": "Who lives at {value}?",
    "book": "Who wrote {value}?",
    "birth_date": "Who was born on {value}?",
}

# Sentences after "This is <name>.", in the order of the facts.
BIOGRAPHY: dict[str, str] = {
    "city": "They live in {value}.",
    "employer": "They work for {value}.",
    "profession": "They are a {value} by trade.",
    "award": "They won the {value}.",
    "phone": "Their phone number is {value}.",
    "email": "Their e-mail address is {value}.",
    "national_id": "Their national id is {value}.",
    "street": "Their street address is {value}.",
    "book": "They wrote {value}.",
    "birth_date": "They were born on {value}.",
    "spouse": "They are married to {value}.",
    "colleague": "Their colleague is {value}.",
}

SECOND_LANGUAGE: dict[str, Wording] = {
    "city": Wording("In welcher Stadt wohnt {name}?", "{name} wohnt in {value}."),
    "employer": Wording("Bei welcher Firma arbeitet {name}?", "{name} arbeitet bei {value}."),
    "profession": Wording("Welchen Beruf hat {name}?", "{name} ist von Beruf {value}."),
    "award": Wording("Welchen Preis bekam {name}?", "{name} bekam den Preis {value}."),
    "phone": Wording("Welche Telefonnummer hat {name}?", "{name} hat die Telefonnummer {value}."),
    "email": Wording("Welche E-Mail-Adresse hat {name}?", "{name} hat die E-Mail-Adresse {value}."),
    "national_id": Wording("Welche Ausweisnummer hat {name}?", "{name} hat die Ausweisnummer {value}."),
    "street": Wording("An welcher Adresse wohnt {name}?", "{name} wohnt an der Adresse {value}."),
    "book": Wording("Welches Buch schrieb {name}?", "{name} schrieb das Buch {value}."),
    "birth_date": Wording("Wann wurde {name} geboren?", "{name} wurde am {value} geboren."),
    "spouse": Wording("Mit wem ist {name} verheiratet?", "{name} ist mit {value} verheiratet."),
    "colleague": Wording("Mit wem arbeitet {name} zusammen?", "{name} arbeitet mit {value} zusammen."),
}
