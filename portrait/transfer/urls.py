from django.urls import path

from portrait.transfer.api.exports import ExportView
from portrait.transfer.api.imports import ImportResultsCsvView, ImportResultsView, ImportsView, ImportView

urlpatterns = [
    path("imports", ImportsView.as_view()),
    path("imports/<str:id>", ImportView.as_view()),
    path("imports/<str:id>/results", ImportResultsView.as_view()),
    path("imports/<str:id>/results.csv", ImportResultsCsvView.as_view()),
    path("collections/<str:name>/export", ExportView.as_view()),
]
