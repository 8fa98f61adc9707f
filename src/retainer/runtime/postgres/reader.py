"""Reading: repeatable snapshots on connections that cannot write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from retainer.core.protocols import Row
from retainer.runtime.postgres.connect import connect, where, worded
from retainer.runtime.postgres.sql import numbered


class PostgresReader:
    """:class:`~retainer.runtime.views.Reader` over one connection."""

    def __init__(self, url: str) -> None:
        self._name = where(url)
        self._connection = connect(
            url,
            {
                "default_transaction_read_only": "on",
                "idle_in_transaction_session_timeout": "60000",
                "jit": "off",
            },
        )
        self._cursor = self._connection.cursor()

    @property
    def usable(self) -> bool:
        return self._connection.info.transaction_status is TransactionStatus.IDLE

    def begin(self) -> None:
        self._run("BEGIN ISOLATION LEVEL REPEATABLE READ", ())

    def query(self, sql: str, params: Sequence[Any]) -> list[Row]:
        self._run(sql, params)
        return list(self._cursor.fetchall())

    def one(self, sql: str, params: Sequence[Any]) -> Row | None:
        self._run(sql, params)
        return self._cursor.fetchone()

    def _run(self, sql: str, params: Sequence[Any]) -> None:
        try:
            if params:
                self._cursor.execute(numbered(sql), params)
            else:
                self._cursor.execute(sql)
        except psycopg.Error as error:
            found = worded(error, self._name)
            if found is None:
                raise
            raise found from error

    def end(self) -> None:
        try:
            if self._connection.info.transaction_status is not TransactionStatus.IDLE:
                self._connection.execute("ROLLBACK")
        except psycopg.Error:
            self._connection.close()

    def close(self) -> None:
        self._connection.close()
