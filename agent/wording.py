"""The fixed sentences that customers read: said by code, not by a model."""

EMPTY = "I got a message without any words. What can I help you with?"
WELCOME = "You're welcome! If there is anything else, just ask."
PERSON = "Of course. {next}"
UNSURE = "I couldn't find this in our help articles, and I don't want to guess. {next}"
UNCLEAR = "I'm not sure that I understand your question, so I won't guess. {next}"
REFUSED = "I can't help with this here. {next}"
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
NOT_FOUND = "I found nothing on {parts}. If you would like a person to answer that, just say so."
CANNOT_DO = "I can't do this for you myself, but here is how it works."


def greeting(company: str) -> str:
    """The reply to "hello"."""
    about = f"about {company} " if company else ""
    return (
        f"Hello! Ask me anything {about}and I'll look it up in our help articles, or bring in a person if you prefer."
    )
