"""The errors of `agent`, under the root in `knowledge.errors`.

    FrontdeskError               (knowledge.errors)
    ├── SettingsError            frontdesk.toml, .env or the environment is wrong; names file, line and setting
    └── ModelError               a model gave no usable answer
        ├── ModelUnreachable     no connection, no such host, no answer in time         another model may help
        ├── ModelOverloaded      the server is busy or broken (429, 5xx)                another try may help
        ├── ModelRefused         key, balance, model name or request not accepted      another model may help
        ├── ModelFiltered        the provider's filter would not answer                another model may help
        └── ModelBroken          the answer was cut, empty or not an answer at all     another try may help

A customer never sees any of them: they get an honest sentence and a hand-off, staff get the message.
"""

from typing import ClassVar

from knowledge.errors import FrontdeskError


class SettingsError(FrontdeskError):
    """`frontdesk.toml`, `.env` or the environment is wrong; the message names file, line and setting."""


class ModelError(FrontdeskError):
    """A model gave no usable answer. `retry`: the same request may succeed on the same server after a moment."""

    retry: ClassVar[bool] = False

    def __init__(self, message: str, hint: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after
        """Seconds the server asked us to wait, if it did."""


class ModelUnreachable(ModelError):
    """No connection, no such host, or no answer in time: waiting once more would cost the customer too long."""


class ModelOverloaded(ModelError):
    """The server is busy or broken (429, 5xx)."""

    retry = True


class ModelRefused(ModelError):
    """The key, the balance, the model's name or the request was not accepted."""


class ModelFiltered(ModelError):
    """The provider's content filter would not answer."""


class ModelBroken(ModelError):
    """The answer was cut short, empty, or not an answer at all."""

    retry = True
