"""What Django itself answers below the addresses of the first generation: in the shape of then, not as a page."""

import json

from django.http import HttpRequest, HttpResponse, JsonResponse

from portrait.core import api_errors

ROOTS = frozenset({"face-recognition", "image-captioning", "instance-segmentation"})


def _told(request: HttpRequest, answer: HttpResponse, code: str, message: str) -> HttpResponse:
    if request.path.split("/")[1] not in ROOTS:
        return answer
    return JsonResponse({"error": message, "code": code}, status=answer.status_code)
