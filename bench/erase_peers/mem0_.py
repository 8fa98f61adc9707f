"""Texts as memories of mem0 (Qdrant on disk), half deleted by id, the rest by their user: ``mem0_.py FOLDER < texts``.

They are kept as they are (``infer=False``), and their vectors are made from their bytes, so that no model is asked.
"""

import hashlib
import os
import random
import sys
from typing import Any

folder, texts = sys.argv[1], sys.stdin.read().splitlines()
os.environ |= {"MEM0_TELEMETRY": "False", "OPENAI_API_KEY": "none", "MEM0_DIR": f"{folder}/mem0"}

from mem0 import Memory  # noqa: E402  it reads them when it is imported


class Vectors:
    """The same for the same text."""

    def embed(self, text: str, *_: Any) -> list[float]:
        chance = random.Random(hashlib.sha256(text.encode()).digest())
        return [chance.gauss(0, 1) for _ in range(384)]

    def embed_batch(self, texts: list[str], *_: Any) -> list[list[float]]:
        return [self.embed(text) for text in texts]


place = {"path": f"{folder}/vectors", "on_disk": True, "embedding_model_dims": 384}
memory = Memory.from_config(
    {"vector_store": {"provider": "qdrant", "config": place}, "history_db_path": f"{folder}/history.db"}
)
memory.embedding_model = Vectors()
ids = [memory.add(text, user_id="owner", infer=False)["results"][0]["id"] for text in texts]
for each in ids[: len(ids) // 2]:
    memory.delete(each)
memory.delete_all(user_id="owner")
left = memory.get_all(filters={"user_id": "owner"})["results"]
memory.close()
memory.vector_store.client.close()
if left:
    sys.exit("mem0 still finds memories.")
