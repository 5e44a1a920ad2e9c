"""Whole collections in and out: import and export."""

from django.apps import AppConfig


class TransferConfig(AppConfig):
    name = "portrait.transfer"
