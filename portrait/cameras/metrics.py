"""Backlog and capture as Prometheus' metrics: read from the ledger when asked, so that they are right after any
restart and whichever process answers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, StateSetMetricFamily
from prometheus_client.registry import Collector

from portrait.cameras.models import Camera, CaptureStatus
from portrait.cameras.services.backlog import Backlog

LABELS = ["camera", "name", "collection"]


class FrameMetrics(Collector):
    """The figures of these cameras. `backlogs` by the cameras' ids."""

    def __init__(
        self, cameras: Sequence[Camera], backlogs: Mapping[UUID, Backlog], disk_free_bytes: int | None
    ) -> None:
        self._cameras = cameras
        self._backlogs = backlogs
        self._disk_free_bytes = disk_free_bytes

    def collect(self) -> Iterable[Metric]:
        yield from self._of_backlog()
        yield from self._of_capture()
        if self._disk_free_bytes is not None:
            yield GaugeMetricFamily(
                "portrait_frames_disk_free_bytes", "Free bytes where frames are kept.", self._disk_free_bytes
            )

    def _of_backlog(self) -> Iterable[Metric]:
        figures = {
            "waiting": "Accepted frames that are yet to be processed.",
            "waiting_bytes": "Bytes of their pictures.",
            "oldest_age_seconds": "How long the first of them waits.",
            "failed": "Frames that ended with an error and may be retried.",
            "accepted_per_second": "Frames accepted, over the last minute.",
            "done_per_second": "Frames processed, over the last minute.",
            "failed_per_second": "Frames that failed, over the last minute.",
            "drain_seconds": "Until nothing waits, at this pace; +Inf: never.",
        }
        for name, meaning in figures.items():
            family = GaugeMetricFamily(f"portrait_frames_{name}", meaning, labels=LABELS)
            attribute = name.replace("_per_second", "_per_s").replace("_seconds", "_s")
            for camera in self._cameras:
                value = getattr(self._backlogs[camera.pk], attribute)
                family.add_metric(_labels(camera), math.inf if value is None else value)
            yield family

    def _of_capture(self) -> Iterable[Metric]:
        states = StateSetMetricFamily("portrait_capture_state", "State of the reading of a source.", labels=LABELS)
        lag = GaugeMetricFamily("portrait_capture_lag_seconds", "From capture to acceptance.", labels=LABELS)
        beat = GaugeMetricFamily(
            "portrait_capture_heartbeat_timestamp_seconds", "When the reader last said that it lives.", labels=LABELS
        )
        counters = {
            "captured": CounterMetricFamily("portrait_capture_frames", "Taken from the source.", labels=LABELS),
            "not_taken": CounterMetricFamily("portrait_capture_not_taken", "Could not be stored.", labels=LABELS),
            "restarts": CounterMetricFamily("portrait_capture_restarts", "Connections made anew.", labels=LABELS),
        }
        for camera in self._cameras:
            status = getattr(camera, "status", None)
            if status is None:
                continue
            labels = _labels(camera)
            states.add_metric(labels, {state: state == status.state for state in CaptureStatus.State.values})
            for name, counter in counters.items():
                counter.add_metric(labels, getattr(status, name))
            if status.lag_s is not None:
                lag.add_metric(labels, status.lag_s)
            if status.heartbeat_at is not None:
                beat.add_metric(labels, status.heartbeat_at.timestamp())
        return [states, lag, beat, *counters.values()]


def _labels(camera: Camera) -> list[str]:
    return [str(camera.pk), camera.name, camera.collection.name]
