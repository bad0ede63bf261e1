"""The errors of `agent`, under the root in `knowledge.errors`.

    FrontdeskError               (knowledge.errors)
    ├── SettingsError            frontdesk.toml, .env or the environment is wrong; names file, line and setting
    ├── EngineError              the queue of turns cannot be opened or written to: nothing is acknowledged
    ├── DeliveryError            a reply could not be shown                  .gone: and never will be
    └── ModelError               a model gave no usable answer              kind          breaker
        ├── ModelUnreachable     no connection, no host, no answer in time  unreachable   counts
        ├── ModelOverloaded      the server is busy or broken (429, 5xx)    overloaded    counts
        ├── ModelDenied          key, balance or model name not accepted    denied        opens at once
        ├── ModelRefused         the request was not accepted               refused       -
        ├── ModelTooLong         the request is longer than its context     too_long      -
        ├── ModelFiltered        the provider's filter would not answer     filtered      -
        ├── ModelBroken          cut, empty, or not an answer at all        broken        counts
        └── BudgetError          a budget is spent: the call was not made   budget        -

A customer never sees any of them: they get an honest sentence and a hand-off, staff get the message.
"""

from typing import ClassVar, Literal

from agent.messages import Usage
from knowledge.errors import FrontdeskError as FrontdeskError


class SettingsError(FrontdeskError):
    """`frontdesk.toml`, `.env` or the environment is wrong; the message names file, line and setting."""


class EngineError(FrontdeskError):
    """The queue of turns cannot be opened or written to. What was to be stored is not acknowledged."""


class DeliveryError(FrontdeskError):
    """A connector could not show a reply, or fetch a file. `gone`: the place no longer takes posts, so nobody tries again.

    `token`: it is the connector's own key that is refused; nothing can be shown anywhere before somebody mends it.
    """

    def __init__(self, message: str, hint: str = "", *, gone: bool = False, token: bool = False) -> None:
        super().__init__(message, hint)
        self.gone = gone
        self.token = token


class ModelError(FrontdeskError):
    """A model gave no usable answer. `retry`: the same request may succeed on the same server after a moment.

    `usage` is what the attempt cost all the same, as far as can be told. `breaker` says what it means for a circuit
    breaker: a count, an end of all calls for a while, or nothing.
    """

    kind: ClassVar[str] = "failed"
    retry: ClassVar[bool] = False
    breaker: ClassVar[Literal["counts", "opens", "ignores"]] = "counts"

    def __init__(self, message: str, hint: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after
        """Seconds the server asked us to wait, if it did."""
        self.usage = Usage()


class ModelUnreachable(ModelError):
    """No connection, no such host, or no answer in time: waiting once more would cost the customer too long."""

    kind = "unreachable"


class ModelOverloaded(ModelError):
    """The server is busy or broken (429, 5xx)."""

    kind = "overloaded"
    retry = True


class ModelDenied(ModelError):
    """The key, the balance or the model's name was not accepted: nothing will change until somebody mends it."""

    kind = "denied"
    breaker = "opens"


class ModelRefused(ModelError):
    """The request was not accepted."""

    kind = "refused"
    breaker = "ignores"


class ModelTooLong(ModelError):
    """The request is longer than the model's context."""

    kind = "too_long"
    breaker = "ignores"


class ModelFiltered(ModelError):
    """The provider's content filter would not answer. Another vendor's may."""

    kind = "filtered"
    breaker = "ignores"


class ModelBroken(ModelError):
    """The answer was cut short, empty, or not an answer at all."""

    kind = "broken"
    retry = True


class BudgetError(ModelError):
    """A budget is spent, or would be by this call: it was not made. `scope` is the budget's name."""

    kind = "budget"
    breaker = "ignores"

    def __init__(self, message: str, hint: str = "", *, scope: str) -> None:
        super().__init__(message, hint)
        self.scope = scope
