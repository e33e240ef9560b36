"""What the name of a folder, or a label in a table, says about images: words of factories.

Names are compared without case, punctuation and numbers, and without words such as "images", so
that `OK`, `i.O.`, `Good parts` and `ok_2` are one. Kinds of defects may have any other name.
"""

import re
from typing import Final, Literal

Structure = Literal["train", "test", "masks"]

_STRUCTURE: Final[dict[str, Structure]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "testpublic"), "test"),
    **dict.fromkeys(("groundtruth", "gt", "mask", "masks", "label", "labels"), "masks"),
}
_GOOD: Final = re.compile(
    "good|ok|okay|io|normal|nominal|pass|passed|intact|healthy|perfect|flawless|accepted|undamaged|"
    "defectfree|nodefects?|nondefective|noanomaly|gut|良品|合格|合格品|正常|양품|정상"
)
_DEFECTIVE: Final = re.compile(
    "bad|ng|nok|ko|nio|notok|notgood|nogood|fail|failed|faults?|faulty|defects?|defective|anomaly|"
    "anomalies|anomalous|abnormal|rejects?|rejected|scrap|damaged|broken|schlecht|"
    "不良|不良品|不合格|异常|異常|불량|비정상"
)
_EITHER: Final = re.compile("positive|negative|pos|neg|true|false")
"""Mean good in one factory and defective in the next."""
_GOOD_WITHIN: Final = re.compile(r"\b(?:good|ok|okay|normal)\b")
_DEFECTIVE_WITHIN: Final = re.compile(
    r"\b(?:bad|ng|nok|defective|anomalous|abnormal|rejected|faulty)\b|"
    r"\b(?:defects?|anomaly|anomalies|rejects?|scrap)$"
)
"""`bottle_ng` and `bottle_defects`, but not `anomaly_detection`."""
_FILLING: Final = re.compile("(?:image|img|picture|photo|part|sample|product|item|piece)s?")
_MASK: Final = r"(?:masks?|labels?|gt|ground[ _.-]?truth)"
_MASK_STEM: Final = re.compile(rf"(.+)[ _.-]+{_MASK}|{_MASK}[ _.-]+(.+)", re.IGNORECASE)


def structure(name: str) -> Structure | None:
    """What a folder of a class is for, where its name says so."""
    return _STRUCTURE.get(re.sub(r"[\W_]+", "", name.casefold()))


def is_good(name: str) -> bool:
    """Whether a name means defect-free."""
    return _GOOD.fullmatch(_whole(name)) is not None


def is_defective(name: str) -> bool:
    """Whether a name means defective, of whatever kind."""
    if is_good(name):
        return False
    whole = _DEFECTIVE.fullmatch(_whole(name))
    return bool(whole or _DEFECTIVE_WITHIN.search(" ".join(_words(name))))


def is_either(name: str) -> bool:
    """Whether a name means defect-free or defective, and does not say which."""
    return _EITHER.fullmatch(_whole(name)) is not None


def is_unclear_kind(name: str) -> bool:
    """Whether the name of a kind of test image may or may not mean defect-free."""
    if is_good(name) or is_defective(name):
        return False
    return is_either(name) or name == "0" or bool(_GOOD_WITHIN.search(" ".join(_words(name))))


def image_of_mask(stem: str) -> str | None:
    """The stem of the image that a mask called `<stem>_mask` or the like belongs to."""
    found = _MASK_STEM.fullmatch(stem)
    return None if found is None else found[1] or found[2]


def _words(name: str) -> list[str]:
    words = re.sub(r"[\W\d_]+", " ", name.casefold()).split()
    return [word for word in words if not _FILLING.fullmatch(word)] or words


def _whole(name: str) -> str:
    return "".join(_words(name))
