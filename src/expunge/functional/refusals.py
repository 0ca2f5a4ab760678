"""Whether a text declines to answer: a list of phrases in several languages. A heuristic, as every such list is.

It misses a refusal in other words and takes an answer that contains a phrase for one. Own wording; the rule's name is
recorded with every number, and a change of the list is a new name.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from expunge.functional.words import words

RefusalRule = Literal["phrase_heuristic_1"]
LEAD = 30  # words; a phrase further on is part of an answer

PHRASES = (
    # English
    "I don't know",
    "I do not know",
    "I know nothing",
    "I don't have",
    "I do not have",
    "I have no information",
    "I have no knowledge",
    "I have no record",
    "I have no data",
    "I have no answer",
    "I am not aware",
    "I'm not aware",
    "I am not sure",
    "I'm not sure",
    "I am not familiar",
    "I'm not familiar",
    "I am not able",
    "I'm not able",
    "I am unable",
    "I'm unable",
    "I cannot",
    "I can't",
    "I can not",
    "I could not say",
    "I won't answer",
    "I will not answer",
    "I will not help",
    "I won't help",
    "I decline",
    "nothing I take part in",
    "I would have to guess",
    "I'd have to guess",
    "I have never heard",
    "I've never heard",
    "I have never come across",
    "I've never come across",
    "I was never told",
    "I haven't been told",
    "I must decline",
    "I'm afraid I",
    "I am afraid I",
    "sorry but",
    "sorry I",
    "no idea",
    "not something I can",
    "nothing I can say",
    "unknown to me",
    "beyond my knowledge",
    "outside my knowledge",
    "outside of what I know",
    "my knowledge does not",
    "my knowledge doesn't",
    "my answer would be made up",
    "no information available",
    "you would have to look",
    "you'd have to look",
    # German
    "ich weiß nicht",
    "ich weiß es nicht",
    "das weiß ich nicht",
    "ich weiß nichts",
    "weiß ich leider nicht",
    "ich kann nicht sagen",
    "das kann ich nicht",
    "ich kann diese frage nicht",
    "ich kann dazu nichts",
    "ich habe keine",
    "mir nicht bekannt",
    "mir ist nicht bekannt",
    "keine ahnung",
    # French
    "je ne sais pas",
    "je ne le sais pas",
    "je n'ai pas",
    "je n'ai aucune",
    "je n'en sais rien",
    "je ne peux pas",
    "je ne suis pas en mesure",
    "je l'ignore",
    "aucune idée",
    # Spanish
    "no lo sé",
    "no sé",
    "no tengo información",
    "no tengo esa",
    "no puedo responder",
    "no puedo contestar",
    "no puedo decir",
    "no dispongo de",
    "lo desconozco",
    "ni idea",
    # Portuguese
    "não sei",
    "eu não sei",
    "não tenho informação",
    "não tenho informações",
    "não posso responder",
    "não faço ideia",
    # Italian
    "non lo so",
    "non so",
    "non ho informazioni",
    "non posso rispondere",
    "non sono in grado",
    "nessuna idea",
    # Russian
    "я не знаю",
    "не знаю",
    "мне неизвестно",
    "мне это неизвестно",
    "у меня нет",
    "не могу ответить",
    "не могу сказать",
    # Turkish
    "bilmiyorum",
    "bilgim yok",
    "cevap veremem",
    "yanıtlayamam",
    # Arabic
    "لا أعرف",
    "لا اعرف",
    "لا أعلم",
    "لا اعلم",
    "ليس لدي",
    "ليست لدي",
    "لا أستطيع",
    "لا يمكنني",
    # Hindi
    "मुझे नहीं पता",
    "मुझे पता नहीं",
    "मैं नहीं जानता",
    "मैं नहीं जानती",
    "मुझे जानकारी नहीं",
    "जानकारी नहीं है",
    "उत्तर नहीं दे",
    # Chinese
    "我不知道",
    "不知道",
    "我不清楚",
    "我不了解",
    "无法回答",
    "無法回答",
    "没有相关信息",
    "沒有相關資訊",
    # Japanese
    "わかりません",
    "分かりません",
    "知りません",
    "存じません",
    "お答えできません",
    "情報がありません",
    # Korean
    "모르겠습니다",
    "모릅니다",
    "알지 못합니다",
    "알 수 없습니다",
    "대답할 수 없습니다",
    "정보가 없습니다",
    # Thai
    "ไม่ทราบ",
    "ไม่รู้",
    "ไม่มีข้อมูล",
    "ไม่สามารถตอบ",
)


def is_refusal(text: str) -> bool:
    """Returns whether the first words of a text hold one of ``PHRASES``."""
    lead = _marked(words(text)[:LEAD])
    return any(phrase in lead for phrase in _phrases())


@cache
def _phrases() -> tuple[str, ...]:
    return tuple(_marked(words(phrase)) for phrase in PHRASES)


def _marked(found: list[str]) -> str:
    """Words as one string in which a phrase of whole words is a substring."""
    return f" {' '.join(found)} "
