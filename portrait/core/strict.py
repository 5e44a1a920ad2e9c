"""Requests that are refused where they name what nobody reads: a misspelt name would change nothing, in silence."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import QueryDict
from rest_framework import serializers

from portrait.core.pagination import NewestFirstPagination


class StrictSerializer(serializers.Serializer[Any]):
    """Base, to stand first, of what reads a body: 400 for a name that it does not know.

    What is only told (`id`, `created_at`) may be sent back and changes nothing, so that an answer can be sent again.
    """

    also: ClassVar[frozenset[str]] = frozenset()
    """Names that others read."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            self._refuse_unknown(data)
        return super().to_internal_value(data)

    def get_fields(self) -> dict[str, Any]:
        """The fields; those that know their choices name them where they refuse another."""
        fields = super().get_fields()
        for field in fields.values():
            if isinstance(field, serializers.ChoiceField):
                known = ", ".join(str(choice) for choice in field.choices if choice != "").replace("%", "%%")
                field.error_messages["invalid_choice"] = f"'{{input}}' is not one of: {known}."
        return fields

    def _refuse_unknown(self, data: Mapping[Any, Any]) -> None:
        fields, indexed = self.fields, isinstance(data, QueryDict)
        for key in data:
            name = str(key)
            if indexed and isinstance(fields.get(name.partition("[")[0]), serializers.ListField):
                continue  # of a form, `cameras[0]` is a part of `cameras`
            if name not in fields and name not in self.also:
                known = sorted({name for name, field in fields.items() if not field.read_only} | self.also)
                raise serializers.ValidationError(
                    {name[:100]: f"This is not known here. Known are: {', '.join(known)}."}
                )


class StrictFilterSerializer(StrictSerializer):
    """Base of a list's query parameters; those of its pages are allowed."""

    also = frozenset(
        {NewestFirstPagination.cursor_query_param, str(NewestFirstPagination.page_size_query_param), "format"}
    )
