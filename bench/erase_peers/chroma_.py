"""Texts as documents of a Chroma collection, all deleted by their ids: ``chroma_.py FOLDER < texts``."""

import hashlib
import random
import sys

import chromadb


def vector(text: str) -> list[float]:
    """The same for the same text; no model is asked."""
    chance = random.Random(hashlib.sha256(text.encode()).digest())
    return [chance.gauss(0, 1) for _ in range(384)]


folder, texts = sys.argv[1], sys.stdin.read().splitlines()
client = chromadb.PersistentClient(folder, settings=chromadb.Settings(anonymized_telemetry=False))
said = client.create_collection("said", embedding_function=None)
ids = [str(number) for number in range(len(texts))]
said.add(ids=ids, embeddings=[vector(text) for text in texts], documents=texts)
said.delete(ids=ids)
if said.count():
    sys.exit("Chroma still counts documents.")
