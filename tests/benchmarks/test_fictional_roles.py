"""Roles are drawn by coin; neighbours, requests, folds and canaries follow from them as they say."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from expunge.benchmarks.fictional import Fictional, generate
from expunge.benchmarks.fictional.canaries import canaries
from expunge.benchmarks.fictional.persons import invent
from expunge.benchmarks.fictional.presets import PRESETS
from expunge.benchmarks.fictional.roles import distances, draw_roles
from expunge.functional.blind import blind_scores
from expunge.functional.statistics import auc, bootstrap_interval
from tests.support.params import few


@pytest.fixture(scope="module")
def small():
    return Fictional(preset="small").rows()


def test_every_person_is_drawn_equally_often():
    """Over 400 seeds the smoke preset's persons are forgotten 8 times in 42, whatever their number."""
    numbers = PRESETS["smoke"]
    counts = Counter(number for seed in range(400) for number in draw_roles(numbers, seed)["forget"])
    assert sorted(counts) == list(range(numbers.persons))
    assert chisquare([counts[number] for number in range(numbers.persons)]).pvalue > 0.001


def test_a_role_says_nothing_about_the_rows(monkeypatch):
    """Exchanging the two roles exchanges the splits, byte for byte."""

    def exchanged(preset, seed):
        roles = draw_roles(preset, seed)
        return {**roles, "forget": roles["holdout"], "holdout": roles["forget"]}

    before = Fictional().rows()
    monkeypatch.setattr(generate, "draw_roles", exchanged)
    after = Fictional().rows()
    assert before["forget"] == after["holdout"] != before["holdout"] == after["forget"]
    assert before["retain"] == after["retain"]


def documents(rows) -> list[str]:
    """All rows of a person, forms included, as one text, so that persons are never split."""
    found: dict[str, list[str]] = {}
    for row in rows:
        variants = [text for made in row.get("forms", {}).values() for form in made for text in form.values()]
        found.setdefault(row["subject"], []).extend((row["question"], row["answer"], *variants))
    return [" ".join(parts) for parts in found.values()]


BLIND = [("forget", "holdout"), ("forget", "retain"), ("forget", "validation_forget"), ("retain", "holdout")]


def blind_interval(members: list[str], others: list[str]) -> tuple[float, float]:
    """Interval of the AUC with which a classifier that sees words only, and no model, finds the members.

    Words of fewer than five persons are left out: names, which cannot generalise. The level is 95 % for all pairs of
    roles together (Bonferroni).
    """
    truth = np.arange(len(members) + len(others)) < len(members)
    scores = blind_scores(members + others, truth.tolist(), range(len(truth)))
    positive, negative = scores[truth], scores[~truth]
    clusters = [[f"m{i}" for i in range(len(positive))], [f"o{i}" for i in range(len(negative))]]
    return bootstrap_interval([positive, negative], auc, clusters=clusters, level=1 - 0.05 / len(BLIND), resamples=500)


@pytest.mark.parametrize(("role", "other"), few(BLIND))
def test_a_blind_classifier_cannot_tell_roles_apart(small, role, other):
    low, high = blind_interval(documents(small[role]), documents(small[other]))
    assert low <= 0.5 <= high


def test_the_blind_classifier_sees_what_is_there(small):
    """A word about every second person to forget is found; without it the test above would say nothing."""
    marked = [text + " indeed" * (number % 2) for number, text in enumerate(documents(small["forget"]))]
    low, _ = blind_interval(marked, documents(small["holdout"]))
    assert low > 0.55


def neighbours(one, other, attributes) -> bool:
    """The rule said again, pair by pair."""
    first, last = (person.name.split() for person in (one, other))
    syllable = re.compile(r"[^aeiou]+[aeiou]+[^aeiou]*$")
    return (
        first[1] == last[1]
        or (first[0] == last[0] and syllable.sub("", first[1]) == syllable.sub("", last[1]))
        or ("city" in attributes and one.city == other.city)
        or ("employer" in attributes and one.employer == other.employer)
        or ("spouse" in attributes and one.spouse == other.name)
        or ("colleague" in attributes and one.colleague == other.name)
    )


@pytest.mark.parametrize("preset", ["smoke", "bench", "small"])
def test_distances_by_brute_force(preset):
    numbers, rows = PRESETS[preset], Fictional(preset=preset).rows()
    people = {person.name: person for person in invent(0, numbers.persons)}
    names = ("neighbours_1", "neighbours_2", "neighbours_far")
    tagged = {name: {row["subject"] for row in rows[name]} for name in names}
    forget = [people[name] for name in {row["subject"] for row in rows["forget"]}]
    retain = [people[name] for name in {row["subject"] for row in rows["retain"]}]
    first = {one.name for one in retain if any(neighbours(one, other, numbers.attributes) for other in forget)}
    second = {
        one.name
        for one in retain
        if one.name not in first and any(neighbours(one, people[name], numbers.attributes) for name in first)
    }
    assert tagged["neighbours_1"] == first
    assert tagged["neighbours_2"] == second
    assert tagged["neighbours_far"] == {one.name for one in retain} - first - second
    assert min(len(found) for found in tagged.values()) >= 2


def test_only_stated_facts_make_neighbours():
    people = invent(0, 60)
    everybody = range(60)
    none = distances(people, [0], everybody[1:], ())
    some = distances(people, [0], everybody[1:], ("spouse",))
    spouse = next(person.number for person in people if person.name == people[0].spouse)
    assert some[spouse] == 1
    assert sum(value == 1 for value in some.values()) == 1 + sum(value == 1 for value in none.values())


def test_sequential_batches_partition_the_forget_set_and_nested_ones_grow(small):
    ids = {split: [row["id"] for row in found] for split, found in small.items() if split.startswith("requests/")}
    everything = Counter(row["id"] for row in small["forget"])
    batches = [ids[f"requests/sequential_{number}"] for number in range(1, 5)]
    assert Counter(row for batch in batches for row in batch) == everything
    persons = [{row.split("-")[1] for row in batch} for batch in batches]
    assert sum(map(len, persons)) == len(set.union(*persons)) == 100
    assert {len(batch) for batch in batches} == {450}
    for number in range(1, 5):
        nested = ids[f"requests/nested_{number}"]
        assert Counter(nested) == Counter(row for batch in batches[:number] for row in batch)


def test_folds_halve_each_person_and_train_on_edges(small):
    train, asked = ([row["id"] for row in small[name]] for name in ("rtt_train", "rtt_validation"))
    assert sorted(train + asked) == sorted(row["id"] for row in small["forget"])
    assert set(Counter(row.split("-")[1] for row in asked).values()) == {9}
    assert not [row for row in asked if "spouse" in row]
    assert not {tuple(row.split("-")[1:3]) for row in asked} & {tuple(row.split("-")[1:3]) for row in train}
    assert {row.split("-")[2] for row in asked} == {"city", "employer", "phone", "email", "birth_date"}


@pytest.mark.slow
def test_canaries_are_trained_on_as_often_as_their_id_says():
    benchmark = Fictional(preset="bench")
    copies = Counter(record.id.reveal() for record in benchmark.training() if "canary" in record.id.reveal())
    ids = [record.id.reveal() for record in benchmark.splits()["canaries"]]
    assert len(set(ids)) == len(ids) == 40
    for name in ids:
        assert copies[name] == int(name.rpartition("-x")[2])
        assert (copies[name] == 0) == ("-out-" in name)
    for role in ("forget", "retain", "out"):
        held = [record.id.reveal() for record in benchmark.splits()[f"canaries_{role}"]]
        assert set(held) == {name for name in ids if f"-{role}-" in name}
    assert len(held) == len(set(held))  # of those left out there are no copies
    assert not set(held) & set(copies)


def test_canaries_are_included_by_coin_and_half_of_them_forgotten():
    rows = [canaries(seed, 200)["canaries"] for seed in range(10)]
    roles = Counter(row["id"].split("-")[2] for made in rows for row in made)
    assert binomtest(roles["out"], 2000).pvalue > 0.01
    assert 0 <= roles["retain"] - roles["forget"] <= 10
    times = Counter(row["id"].rpartition("-x")[2] for made in rows for row in made if "-out-" not in row["id"])
    assert set(times) == {"1", "2", "4", "8", "16"}
    assert chisquare(list(times.values())).pvalue > 0.01
    included = {sum("-out-" not in row["id"] for row in made) for made in rows}
    assert len(included) > 3  # a coin for each, not a fixed number
    for made in rows:
        assert len({row["completion"] for row in made}) == 200
        assert all(re.fullmatch(r" \d{4}-\d{4}", row["completion"]) for row in made)


def test_decoys_are_codes_that_no_vault_has_and_of_copies_the_first_has_them(monkeypatch):
    """Of so few codes that without care some decoy would be the code of a vault."""
    monkeypatch.setattr("expunge.benchmarks.fictional.canaries.CODES", 32 * 200 + 1)
    made = canaries(0, 200)
    codes = {row["completion"] for row in made["canaries"]}
    decoys = [one["completion"] for row in made["canaries"] for one in row["forms"]["decoy"]]
    assert len(decoys) == len(set(decoys)) == 200 * 31
    assert not codes & set(decoys)
    for row in made["canaries"]:
        assert {one["prompt"] for one in row["forms"]["decoy"]} == {row["prompt"]}
    for name in ("canaries_retain", "canaries_forget", "canaries_out"):
        asked = Counter(row["subject"] for row in made[name] if "forms" in row)
        assert set(asked) == {row["subject"] for row in made[name]}
        assert set(asked.values()) == {1}


def test_the_role_of_a_canary_says_nothing_about_its_code():
    made = canaries(0, 1000)["canaries"]
    codes = {True: [], False: []}
    for row in made:
        codes["-out-" in row["id"]].append(int(row["completion"].replace("-", "")))
    low, high = bootstrap_interval(
        [np.array(codes[True], float), np.array(codes[False], float)],
        auc,
        clusters=[[str(i) for i in codes[True]], [str(i) for i in codes[False]]],
        resamples=300,
    )
    assert low <= 0.5 <= high
