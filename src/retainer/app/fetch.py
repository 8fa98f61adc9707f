"""``retainer fetch``: weights and sample bars ahead of time, with a progress bar."""

from __future__ import annotations

import asyncio

from retainer.app.config import Settings


def run_fetch(settings: Settings, model: str | None, *, for_tests: bool) -> int:
    """Fetch what is asked for and not there yet. Raises :class:`RetainerError` when it cannot be had."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from retainer.models.fetch import fetch_model
    from retainer.models.progress import Progress as ModelProgress
    from retainer.trading.samples import fetch_samples

    wanted = model or ("small" if for_tests else "default")
    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    if wanted != "none":
        _check_again(wanted, settings)
        with Progress(*columns, console=console) as bars:
            task = bars.add_task(f"model {wanted}", total=None)

            def show(progress: ModelProgress) -> None:
                bars.update(task, completed=progress.done, total=progress.total)

            asyncio.run(fetch_model(wanted, show, settings=settings.chosen_models()))
    if for_tests or model is None:
        fetch_samples(lambda words: console.print(words, highlight=False))
    return 0


def _check_again(wanted: str, settings: Settings) -> None:
    """Read a file that is there as a whole: damage that left its size and time alone is found only so."""
    from retainer.models.catalogue import load_catalogue
    from retainer.models.store import ModelStore

    models = settings.chosen_models()
    ModelStore(models.cache).verify(load_catalogue(models.catalogue).find(wanted), full=True)
