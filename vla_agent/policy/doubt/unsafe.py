"""Instructions that would hurt someone or break something, by their words: no scene makes them right.

The lists are English and plain to read; what they do not name is not refused.  No training changes them.
"""

from __future__ import annotations

import re

HURT, BREAK = "that would hurt someone", "that would break something"

_OWNER = r"(?:the|a|an|that|this|my|his|her|your|our|their|\w+ s)"
_KIND = r"(?:(?:other|old|little|young|small|poor|nearest|next|left|right|own|bare|bald) )?"
_PRONOUN = r"(?:someone|somebody|anyone|anybody|everyone|him|her|them|yourself|myself|himself|herself|people)"
_NOUN = (
    r"(?:person|people|human|man|men|woman|women|child|children|kid|kids|boy|girl|baby|worker|operator|colleague"
    r"|visitor|guest|neighbou?r|user|passer by|bystander|friend|dog|cat|pet|animal)"
)
_BODY = (
    r"(?:head|face|hand|hands|foot|feet|finger|fingers|toe|toes|arm|leg|legs|knee|eye|eyes|ear|nose|mouth|neck|throat"
    r"|chest|belly|stomach|shoulder|skin)"
)
_VICTIM = rf"(?:{_PRONOUN}|{_OWNER} {_KIND}(?:{_NOUN}|{_BODY}))\b"
_ME = rf"(?:{_VICTIM}|(?:me|us|you)\b)"
_ALWAYS = (
    r"(?:hurt|harm|injure|wound|attack|kill|murder|stab|punch|slap|smack|strangle|choke|bruise|assault|threaten|scare"
    r"|frighten|scald)(?:s|ing)?"
)
_CONTACT = (
    r"(?:hit|strike|beat|poke|jab|prick|burn|cut|squeeze|pinch|whack|scratch|trip|bite|ram|shoot|crush|squash|smash"
    r"|bash|kick|clamp|trap|pelt|clobber)"
)
_PUSH = r"(?:push|shove|bump|knock|crash into|press|drive into|run over)"
_MOVE = (
    r"(?:throw|fling|hurl|toss|chuck|lob|sling|launch|drop|slam|smash|let|push|shove|ram|swing|jab|poke|press|stick"
    r"|crash|bang|catapult|slide|knock|aim|shoot)"
)
_AT = r"(?:at|on|onto|on top of|against|into|in|through|over)"
_DAMAGE = (
    r"(?:smash|crush|break|shatter|destroy|wreck|crack|ruin|damage|demolish|tear|rip|bend|burn|melt|squash|stomp"
    r"|trample|pulveri[sz]e|dent|scratch|splinter|flatten|bash|trash)"
)
_THROW = r"(?:throw|fling|hurl|toss|chuck|lob|sling|launch|catapult)"
_SHOVE = (
    rf"(?:{_THROW}|push|shove|slide|roll|knock|sweep|swipe|brush|kick|nudge|tip|drop|flick|swat|send|dump|drag|wipe"
    r"|fall|let|bump)"
)
_DOWN = r"(?:floor|ground|carpet|tiles)"
_EDGE = r"(?:table|edge|desk|bench|counter|worktop|tabletop|side|table s edge)"
_THING = r"(?:\w+ ){0,5}?"
_NOT = r"(?:do not|don t|never|without|not to|avoid|careful not to|must not|should not)"

_HURTING = (
    rf"\b{_ALWAYS}\b",
    rf"\b{_CONTACT} {_ME}",
    rf"\b{_PUSH} {_VICTIM}",
    rf"\b{_MOVE} {_THING}{_AT} {_ME}",
    rf"\b(?:close|shut|pour|tip) {_THING}(?:on|onto|over) {_ME}",
)
_BREAKING = (
    rf"\b{_DAMAGE} (?!of |(?:open )?the drawer|the cabinet)(?:\w+ ){{0,3}}\w+",
    r"\buntil it (?:breaks|cracks|shatters|splits|bursts)\b",
    r"\b(?:whack|bash|ram|batter) (?:the|a) (?!button|\w+ button)",
    rf"\b(?:knock|tip|topple) {_THING}(?:over|down|off)\b|\bkick (?:the|a|it)\b|\b(?:knock|tip|topple) over\b",
    rf"\b{_SHOVE} {_THING}off (?:of )?(?:the )?{_EDGE}\b|\bover the (?:\w+ )?edge\b|\b(?:fall|drop|roll|slide) off\b",
    rf"\b(?:on|onto|to|at|against|hit) (?:the )?(?:hard |stone )?{_DOWN}\b(?! of)",
    rf"\b{_THROW} {_THING}(?:at|against|out of|through|across the (?:room|lab|table|kitchen|hall))\b",
    rf"\bslam {_THING}(?:on|onto|against|into|down)\b",
    r"\b(?:out of|through) (?:the|a) window\b|\bfrom (?:\w+ )?(?:high|height|as high)\b",
    r"\b(?:in|into) (?:pieces|bits|half)\b",
)


def unsafe(instruction: str) -> str:
    """Why the instruction must not be followed: it hurts someone, or breaks something; "" where neither is said."""
    text = re.sub(r"\s+", " ", re.sub(r"[^a-z ]", " ", instruction.lower())).strip()
    for reason, patterns in ((HURT, _HURTING), (BREAK, _BREAKING)):
        for pattern in patterns:
            for found in re.finditer(pattern, text):
                if not re.search(rf"\b{_NOT}(?: \w+){{0,3}} ?$", text[: found.start()]):
                    return reason
    return ""
