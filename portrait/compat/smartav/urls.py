"""The addresses of the first-generation API, with and without a slash at the end."""

from django.urls import URLPattern, path, register_converter
from django.urls.converters import StringConverter

from portrait.compat.smartav.api.base import SmartavView
from portrait.compat.smartav.api.faces import (
    ClearSamplesView,
    ConfigDatabaseView,
    FaceRecognitionView,
    UpdateMetadataView,
    UpdateSamplesView,
)
from portrait.compat.smartav.api.scenes import (
    DetectObjectsView,
    ImageCaptioningView,
    InitEngineView,
    LoadModelView,
)


class SampleIdConverter(StringConverter):
    """Whatever a client chose as an id, "/" and line ends included."""

    regex = "(?s:.+)"


register_converter(SampleIdConverter, "sample_id")

ADDRESSES: dict[str, type[SmartavView]] = {
    "face-recognition": FaceRecognitionView,
    "face-recognition/update-samples": UpdateSamplesView,
    "face-recognition/clear-samples": ClearSamplesView,
    "face-recognition/update-metadata/<sample_id:sample_id>": UpdateMetadataView,
    "face-recognition/config-database": ConfigDatabaseView,
    "image-captioning": ImageCaptioningView,
    "instance-segmentation/init-engine": InitEngineView,
    "instance-segmentation/load-model": LoadModelView,
    "instance-segmentation/detect-objects": DetectObjectsView,
}


def _both(route: str, view: type[SmartavView]) -> list[URLPattern]:
    """The one with the slash is not told in the OpenAPI document. Of an id a slash at the end may be a part."""
    if route.endswith(">"):
        return [path(route, view.as_view())]
    return [path(route, view.as_view()), path(f"{route}/", view.as_view(schema=None))]


urlpatterns = [pattern for route, view in ADDRESSES.items() for pattern in _both(route, view)]
