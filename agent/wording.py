"""The fixed sentences that customers read: said by code, not by a model."""

from collections.abc import Sequence

EMPTY = "I got a message without any words. What can I help you with?"
WELCOME = "You're welcome! If there is anything else, just ask."
PERSON = "Of course. {next}"
UNSURE = "I couldn't find this in our help articles, and I don't want to guess. {next}"
UNCLEAR = "I'm not sure that I understand your question, so I won't guess. {next}"
REFUSED = "I can't help with this here. {next}"
AGAIN = "One moment: our help articles have just changed, so I am looking this up again."
FAILED = "I can't answer this right now. {next}"
FILTERED = "I'm not able to answer this message. {next}"
BUDGET = "I have reached the limit of what I may answer by myself for now. {next}"
QUOTED_FOR_BUDGET = (
    "(I have reached today's limit for writing answers, so this is word for word from our help articles.)"
)
CRISIS = (
    "I'm really sorry that you are going through this. I'm not able to help with it myself, but people can: please call "
    "your local emergency number now if you are in danger, or find a helpline at https://findahelpline.com. I've told a "
    "person on our team as well."
)
SHORTENED = "Your message was very long, so I read only its first part."
SKIPPED = "That was a lot of text, so I read only the last part of it."
NOT_FOUND = "I found nothing on {parts}. If you would like a person to answer that, just say so."
DISAGREE = "Our help articles do not agree on this, so please ask a person before you rely on it:"
CANNOT_DO = "I can't do this for you myself, but here is how it works."


def greeting(company: str) -> str:
    """The reply to "hello"."""
    about = f"about {company} " if company else ""
    return (
        f"Hello! Ask me anything {about}and I'll look it up in our help articles, or bring in a person if you prefer."
    )


SLOW_DOWN = "That was a lot at once. Please give me a moment, then ask again."
BUSY = "Very many people are writing to us right now. {next}"
LATE = "I'm sorry that you had to wait: this reached me late. {next}"
OUTDATED = "What this answer was based on has changed since, so it is not shown here. Please ask again."


# Why a file was not read: what stands behind "I could not read NAME:".
NO_PICTURES = "pictures cannot be read here"
NO_SUCH_KIND = "this kind of file cannot be read here"
TOO_LARGE = "it is too large"
TOO_MANY = "too many files came at once"
NOT_OPENED = "it could not be opened"
NOTHING_IN_IT = "there is nothing in it that I can read"
_MOST_NAMES = 3


def not_read(files: Sequence[tuple[str, str]]) -> str:
    """The sentence that tells which files were not read and why, from pairs of a name and a reason; empty for none."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in files:
        by_reason.setdefault(reason.rstrip(". "), []).append(name)
    told = "; ".join(f"{_listed(names)}: {reason}" for reason, names in by_reason.items())
    return f"I could not read {told}." if told else ""


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMES:
        return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more"
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


WHAT_IT_SHOWS = (
    "{not_read} Could you tell me in your own words what it shows, or paste its text here? If you would rather talk to a "
    "person, just say so."
)

REASONS = {
    "asked": "the customer asked for one",
    "unsure": "the documents do not answer this",
    "policy": "the agent should not answer this",
    "failed": "something went wrong",
}
"""Why a conversation was handed over, for staff."""
