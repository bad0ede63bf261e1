"""The root of frontdesk's errors, and those that `knowledge` raises.

    FrontdeskError
    ├── KnowledgeError           the knowledge base cannot do what was asked
    │   ├── FolderError          the folder to sync is missing, empty or not readable
    │   ├── StoreError           the data directory cannot be used (read-only, damaged, of another version)
    │   ├── IndexFailure         the index is lost or damaged: search goes on without it, a sync makes it anew
    │   ├── ConflictError        somebody else has changed the document since it was read
    │   ├── BusyError            another process is writing to the same data directory
    │   ├── EmbedderError        vectors cannot be made: search goes on by keywords
    │   ├── RerankerError        passages cannot be scored once more: search goes on in its own order
    │   └── PageError            a web page cannot be had, or must not be fetched; the copy from before stays
    ├── ReaderError              one file cannot be read; the others go in
    │   └── TooSlow              reading it takes more time than it was given
    └── (agent.errors)           settings and models

Every message is written for the person who reads it: what happened, then what to type next. None of it is ever
shown to a customer; `connectors.cli` prints it, without a traceback.
"""


class FrontdeskError(Exception):
    """Something that frontdesk can name went wrong.

    `message` says what happened; `hint` says what to type next (it may be empty).
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class KnowledgeError(FrontdeskError):
    """The knowledge base cannot do what was asked."""


class FolderError(KnowledgeError):
    """The folder to sync is missing, empty or not readable."""


class StoreError(KnowledgeError):
    """The data directory cannot be used: read-only, damaged, or written by another version."""


class IndexFailure(KnowledgeError):
    """The index is lost or damaged; search goes on without it and a sync makes it anew."""


class ConflictError(KnowledgeError):
    """Somebody else has changed the document since it was read. Nothing was written."""


class BusyError(KnowledgeError):
    """Another process is writing to the same data directory."""


def unknown_document(document_id: str) -> KnowledgeError:
    """What is raised where a document is named that is not there."""
    return KnowledgeError(f"There is no document {document_id!r}.", "List them with: frontdesk knowledge list --all")


class EmbedderError(KnowledgeError):
    """Vectors cannot be made just now; search goes on by keywords."""


class RerankerError(KnowledgeError):
    """Passages cannot be scored once more just now; search goes on in its own order."""


class PageError(KnowledgeError):
    """A web page cannot be had, or must not be fetched. The message names the page and the reason."""


class ReaderError(FrontdeskError):
    """One file cannot be read. The message is the reason, one plain sentence without the file's name."""


class TooSlow(ReaderError):
    """Reading a file takes more time than it was given."""
