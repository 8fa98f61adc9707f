"""What a database does for the writer: one connection, transactions, savepoints. Implemented once per database."""

from __future__ import annotations

from typing import Protocol

from retainer.core.protocols import Tx


class UnitTx(Tx, Protocol):
    """A :class:`~retainer.core.protocols.Tx` that refuses to be used once its unit is over."""

    def finish(self) -> None:
        """The unit is over."""
        ...


class Session(Protocol):
    """The writing connection; used by the writer's thread alone."""

    group: int
    """At most this many units share one commit."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; ``False`` too when the database gave it up by itself."""
        ...

    def ready(self) -> None:
        """Make sure that the database can be reached. Raises what :meth:`worded` words."""
        ...

    def begin(self, units: int) -> None:
        """Open the transaction of ``units`` units as the only writer of the database; waits for others."""
        ...

    def commit(self) -> None:
        """Durable when it returns."""
        ...

    def rollback(self) -> None:
        """Undo everything; harmless without a transaction."""
        ...

    def mark(self) -> None:
        """Begin a unit: a point to come back to."""
        ...

    def undo(self) -> None:
        """Back to the mark, which is gone then."""
        ...

    def keep(self) -> None:
        """The unit went well; its mark is gone."""
        ...

    def tx(self) -> UnitTx:
        """Access for one unit."""
        ...

    def worded(self, error: BaseException) -> BaseException:
        """``error`` in words if the storage is at fault, else itself."""
        ...

    def look(self) -> bool:
        """Once a tick, outside transactions: whether anybody committed since the last look."""
        ...

    def close(self) -> None:
        """Tidy up and close; failures are logged."""
        ...
