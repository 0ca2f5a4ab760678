"""The plain words of a report: what each verdict means, and how metrics and their settings are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from expunge.data.record import FORMS

MEANINGS = {
    "not known": "The original model does not know the forget set either, so there is nothing to remove.",
    "not removed": "The model knows the forget set about as well as before.",
    "removed": "On everything tried, the model cannot be told from one that never saw the records.",
    "suppressed": "The answers are gone, but attacks bring them back.",
    "partly removed": "The model knows less than before, but can still be told from one that never saw the records.",
    "exposed": "The records stand out by being less likely than records never seen: who looks for that finds them.",
    "damaged": "The model lost too much of what it should keep.",
    "not verifiable": "What is at hand does not suffice to say whether the records are gone.",
}
GROUNDS = {  # what the rules found for each verdict, without a run's numbers
    "not known": "no forget metric is shown to tell the original from the retrained model",
    "not removed": "no forget metric moved in the direction of forgetting",
    "removed": "every forget metric is within the margin, and no attack brings the answers back",
    "suppressed": "an attack brings the answers back",
    "partly removed": "a forget metric is outside the margin, or utility is too low for a removal",
    "exposed": "a membership attack finds the forget records less likely than unseen ones",
    "damaged": "utility fell too far, or replies to retain prompts are out of range",
    "not verifiable": "the numbers leave the verdict open",
}
TONES = {  # class of the style sheet that the verdict's edge takes
    "removed": "good",
    "suppressed": "warn",
    "partly removed": "warn",
    "not removed": "bad",
    "exposed": "bad",
    "damaged": "bad",
}
NAMES = {
    "mia_loss": "loss attack",
    "mia_zlib": "zlib attack",
    "mia_min_k": "Min-K% attack",
    "mia_min_k_plus_plus": "Min-K%++ attack",
    "mia_lowercase": "lowercase attack",
    "mia_neighbourhood": "neighbourhood attack",
    "mia_grad_norm": "gradient norm attack",
    "mia_recall": "ReCaLL attack",
    "mia_dc_pdd": "DC-PDD attack",
    "mia_reference": "reference attack",
    "mia_update": "update attack",
    "mia_spv": "SPV-MIA attack",
    "rmia": "RMIA attack",
    "lira": "LiRA attack",
    "ulira": "U-LiRA attack",
    "privleak": "PrivLeak",
    "epsilon_lower_bound": "lower bound on epsilon",
    "rouge": "ROUGE-L recall",
    "exact_memorisation": "token accuracy",
    "multi_hop": "multi-hop",
    "yes_no": "yes or no",
}


class Label(NamedTuple):
    """A recorded name taken apart: ``mia_min_k(split=forget, k=0.2)`` has a name and two settings."""

    name: str
    settings: dict[str, str]

    @classmethod
    def parse(cls, label: str) -> Label:
        """Reads a recorded name; what is no setting is left out."""
        name, _, inside = label.partition("(")
        pairs = (part.partition("=") for part in inside.removesuffix(")").split(", "))
        return cls(name, {key: value for key, separator, value in pairs if separator})

    @property
    def split(self) -> str:
        """Split that is read; a name without one reads several, and has no single split."""
        return self.settings.get("split", "")

    @property
    def form(self) -> str:
        """Form of the records that is read."""
        return self.settings.get("form", "trained")


def words(name: str) -> str:
    """A snake_case name in words."""
    return NAMES.get(name, name.replace("_", " "))


def title(label: str) -> str:
    """A metric in words, with the form it reads where that is not the trained one."""
    found = Label.parse(label)
    name = words(found.name)
    return name if found.form in ("trained", found.name) else f"{name}, {words(found.form)}"


def scored(label: str) -> str:
    """A metric in words with the split it reads where that is not the forget set."""
    split = Label.parse(label).split
    return title(label) if split in ("", "forget") else f"{title(label)} on {words(split)}"


def names(labels: Iterable[str]) -> dict[str, str]:
    """Metrics in words, with the settings that tell apart those which would be called the same."""
    alike: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        alike.setdefault(scored(label), []).append(label)
    return {label: name + _apart(label, group) for name, group in alike.items() for label in group}


def _apart(label: str, group: Sequence[str]) -> str:
    settings = [Label.parse(one).settings for one in group]
    own = Label.parse(label).settings
    varying = [key for key in own if any(one.get(key) != own[key] for one in settings)]
    return "".join(f", {told}" for key in varying if (told := aside(key, own[key])))


def aside(key: str, value: str) -> str:
    """A setting behind a name: a switch by its name where it is on, a number with its name, a word by itself."""
    if value in ("True", "False"):
        return words(key) if value == "True" else ""
    return words(value) if value[:1].isalpha() else f"{words(key)} {value}"


def model(role: str) -> str:
    """A model as a reader sees it: ``retrained_2`` is retrained 2; names of runs stay as they are."""
    return words(role) if role.startswith("retrained_") else role


def moment(stamp: str) -> str:
    """An ISO 8601 time in UTC to the minute; anything else as it is."""
    try:
        found = datetime.fromisoformat(stamp).astimezone(UTC)
    except ValueError:
        return stamp
    return f"{found:%Y-%m-%d %H:%M} UTC"


def setting(value: object) -> str:
    """The value of a setting; a part with settings of its own is ``name (setting value)``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return "none"
    if isinstance(value, Mapping):
        if "name" not in value:
            return ", ".join(f"{words(str(key))} {setting(item)}" for key, item in value.items()) or "none"
        inside = setting(value.get("settings") or {})
        return str(value["name"]) if inside == "none" else f"{value['name']} ({inside})"
    if isinstance(value, (list, tuple)):
        return ", ".join(setting(item) for item in value) or "none"
    return str(value)


def sentence(text: str) -> str:
    """Text with its first letter a capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def plainly(text: str, named: Mapping[str, str]) -> str:
    """A sentence in which recorded names of metrics, given with their words, and forms are said in words."""
    for label in sorted(named, key=len, reverse=True):
        text = text.replace(label, named[label])
    for form in sorted(FORMS, key=len, reverse=True):
        text = text.replace(form, words(form)) if "_" in form else text
    return text


def listed(items: Sequence[str]) -> str:
    """Items as in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    *first, last = items or [""]
    return f"{', '.join(first)} and {last}" if first else last


def either(items: Sequence[str]) -> str:
    """Alternatives as in a sentence: ``a``, ``a or b``, ``a, b or c``."""
    *first, last = items or [""]
    return f"{', '.join(first)} or {last}" if first else last


def counted(number: int, noun: str) -> str:
    """A number and its noun: ``1 record``, ``2 records``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
