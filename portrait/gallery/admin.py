"""The admin's core: people with their faces, enrolment by upload, collections, models."""

from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from inference.errors import ImageTooLargeError, InferenceError
from portrait.audit.admin import principal_of_user
from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.core.admin_base import ModelAdmin
from portrait.core.errors import PortraitError, SeveralFacesError
from portrait.core.pipelines import codec_limits
from portrait.gallery.face_choice import LARGEST
from portrait.gallery.models import DEFAULT_COLLECTION, Collection, EmbeddingModel, Identity, Portrait
from portrait.gallery.reduction import reduction_of
from portrait.gallery.reports import log_resemblances
from portrait.gallery.selectors import as_uuid, with_newest_portraits, with_portrait_counts
from portrait.gallery.services import editing, identities, spaces
from portrait.gallery.services.enrolment import PhotoReport, store_photos
from portrait.gallery.services.journal import actor_of_user
from portrait.gallery.services.photos import Prepared, PreparedPhoto, prepare_photos

FACES_SHOWN = 4
OWN_FIELDS = frozenset(field.name for field in Identity._meta.concrete_fields)


def face_picture(portrait: Portrait, height_px: int = 56) -> SafeString:
    """The portrait's thumbnail, through the authorised view."""
    return format_html(
        '<img src="{}" height="{}" style="border-radius:4px;margin-right:2px" loading="lazy" alt="face">',
        reverse("portrait-thumbnail", args=[portrait.pk]),
        height_px,
    )


def link_to(identity: Identity) -> SafeString:
    """To the person's page."""
    return format_html('<a href="{}">{}</a>', reverse("admin:gallery_identity_change", args=[identity.pk]), identity)


class ManyFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class ManyFilesField(forms.FileField):
    """Several uploaded files -> a list of them."""

    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        files = data if isinstance(data, list | tuple) else [data]
        return [super(ManyFilesField, self).clean(file, initial) for file in files if file]


class IdentityForm(forms.ModelForm[Identity]):
    """An identity, and pictures to enrol with it."""

    photos = ManyFilesField(required=False, label="Add portraits", help_text="Pictures that show this person.")
    largest = forms.BooleanField(
        required=False, label="Take the largest face", help_text="Where a picture shows several people."
    )

    class Meta:
        model = Identity
        fields = ["collection", "name", "external_id", "metadata", "action", "kind", "hidden", "consent", "keep_until"]

    prepared: "ClassVar[list[tuple[str, Prepared]]]" = []
    """The uploaded pictures by name, as the networks judged them before the form was read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """The page sends what it showed along: only what differs from that was typed by its reader. A form without it
        (a script's) is compared with the row."""
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if name in OWN_FIELDS:
                field.show_hidden_initial = not self.is_bound or self.add_initial_prefix(name) in self.data

    def clean_external_id(self) -> str | None:
        return self.cleaned_data["external_id"] or None

    def clean(self) -> dict[str, Any] | None:
        """Nobody is added without a face where pictures were given: the form comes back with the reasons."""
        refused = [(name, photo) for name, photo in self.prepared if not isinstance(photo, PreparedPhoto)]
        if self.instance._state.adding and refused and len(refused) == len(self.prepared):
            for name, error in refused:
                self.add_error("photos", f"{name}: {reason(error)}")
        for name in self.changed_data:
            if self._was_changed_meanwhile(name):
                self.add_error(name, "Somebody else changed this meanwhile: open the page again to see it.")
        return super().clean()

    def _was_changed_meanwhile(self, name: str) -> bool:
        """Whether the row no longer has what the page showed."""
        field = self.fields[name]
        if not field.show_hidden_initial:
            return False
        shown = field.hidden_widget().value_from_datadict(self.data, self.files, self.add_initial_prefix(name))
        return field.has_changed(self.get_initial_for_field(field, name), shown)


def _collection_of(identity_id: str | None, asked: str) -> UUID | None:
    """Of a person who is there already, else the one that the form names."""
    if identity_id is None:
        return as_uuid(asked)
    key = as_uuid(identity_id)
    return Identity.objects.filter(pk=key).values_list("collection_id", flat=True).first() if key else None


def reason(error: Exception | None) -> str:
    """Why a picture was refused, in the words of this form."""
    if isinstance(error, SeveralFacesError):
        return f"The picture holds {len(error.details['faces'])} faces: tick 'Take the largest face' if it is meant."
    return str(error)


@admin.register(Identity)
class IdentityAdmin(ModelAdmin[Identity]):
    form = IdentityForm
    list_display = ["faces", "name", "external_id", "collection", "kind", "portrait_count", "hidden", "created_at"]
    list_display_links = ["faces", "name"]
    list_filter = ["collection", "kind", "hidden"]
    search_fields = ["name", "external_id"]
    autocomplete_fields = ["collection"]
    list_per_page = 50
    show_full_result_count = False

    def get_form(self, request: HttpRequest, obj: Identity | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)  # a class made for this request
        form.prepared = getattr(request, "prepared_photos", [])  # type: ignore[attr-defined]
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"collection": Collection.objects.get(name=DEFAULT_COLLECTION).pk}

    def get_readonly_fields(self, request: HttpRequest, obj: Identity | None = None) -> list[str]:
        if obj is None:
            return []
        fixed = ["collection"]  # the vectors repeat it; a person does not move by a form
        return [*fixed, "seen"] if request.user.has_perm("sightings.view_sighting") else fixed

    @admin.display(description="sightings")
    def seen(self, identity: Identity) -> SafeString:
        address = reverse("admin:sightings_sighting_changelist", query={"identity__id__exact": identity.pk})
        return format_html('<a href="{}">where and when {} was seen</a>', address, identity)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Identity]":
        return with_newest_portraits(with_portrait_counts(super().get_queryset(request)), FACES_SHOWN)

    @admin.display(description="faces")
    def faces(self, identity: Identity) -> SafeString:
        shown: list[Portrait] = getattr(identity, "newest_portraits", [])
        return format_html_join("", "{}", ((face_picture(portrait),) for portrait in shown)) or SafeString("–")

    @admin.display(description="portraits", ordering="portrait_count")
    def portrait_count(self, identity: Identity) -> int:
        return int(getattr(identity, "portrait_count", 0))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The networks look at the uploaded pictures before Django's own view opens its transaction."""
        uploads = request.FILES.getlist("photos") if request.method == "POST" else []
        allowed = self.has_change_permission(request) if object_id else self.has_add_permission(request)
        if uploads and allowed:
            self._prepare(request, uploads, _collection_of(object_id, request.POST.get("collection", "")))
        return super().changeform_view(request, object_id, form_url, extra_context)

    def _prepare(self, request: HttpRequest, uploads: "list[UploadedFile[Any]]", collection_id: UUID | None) -> None:
        choice = LARGEST if request.POST.get("largest") else None
        networks = spaces.networks_of([collection_id]) if collection_id else frozenset[str]()
        too_large = [upload for upload in uploads if (upload.size or 0) > codec_limits().max_bytes]
        try:
            if too_large:
                raise ImageTooLargeError(f"{too_large[0].name} has more than 25 MB.")
            prepared = prepare_photos([upload.read() for upload in uploads], choice=choice, networks=networks)
        except (PortraitError, InferenceError) as error:
            messages.error(request, f"No picture was enrolled: {error}")
            return
        request.prepared_photos = [  # type: ignore[attr-defined]
            (str(upload.name), photo) for upload, photo in zip(uploads, prepared, strict=True)
        ]

    def save_model(self, request: HttpRequest, obj: Identity, form: Any, change: bool) -> None:
        """A change goes into the journal, and what the form did not touch is not written."""
        if change and not self._edit(request, obj, form):
            return
        if not change:
            super().save_model(request, obj, form, change)
        photos: list[tuple[str, Prepared]] = getattr(request, "prepared_photos", [])
        reports = store_photos(identity=obj, prepared=[photo for _, photo in photos])
        log_resemblances(principal=principal_of_user(request), collection_id=obj.collection_id, reports=reports)
        for (name, _), report in zip(photos, reports, strict=True):
            self._tell(request, name, report)

    def _edit(self, request: HttpRequest, obj: Identity, form: Any) -> bool:
        values = {name: form.cleaned_data[name] for name in form.changed_data if name in OWN_FIELDS}
        if not values:
            return True
        try:
            editing.update(identity=Identity.objects.get(pk=obj.pk), actor=actor_of_user(request.user), **values)
        except PortraitError as error:
            messages.error(request, f"Nothing was changed: {error.message}")
            request.edit_was_refused = True  # type: ignore[attr-defined]
            return False
        return True

    def response_change(self, request: HttpRequest, obj: Identity) -> HttpResponse:
        """Nobody is told of a success where the journal refused."""
        if getattr(request, "edit_was_refused", False):
            return HttpResponseRedirect(reverse("admin:gallery_identity_change", args=[obj.pk]))
        return super().response_change(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What hangs on a person is not told one by one, and needs no right of its own: it goes with them."""
        told = [f"{identity}, with all portraits: can be restored for some days, then it goes" for identity in objs]
        needed = set() if self.has_delete_permission(request) else {"identity"}
        return told, {"identities": len(told)}, needed, []

    def delete_model(self, request: HttpRequest, obj: Identity) -> None:
        """As in the API: hidden everywhere at once, erased when the time of grace is over."""
        editing.delete(identity=Identity.objects.get(pk=obj.pk), actor=actor_of_user(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Identity]") -> None:
        for identity in Identity.objects.filter(pk__in=queryset.values("pk"), deleted_at=None, merged_into=None):
            self.delete_model(request, identity)

    def _tell(self, request: HttpRequest, name: str, report: PhotoReport) -> None:
        if report.status == "accepted":
            messages.success(request, f"Enrolled: {name}.")
        elif report.status == "duplicate":
            messages.info(request, f"Enrolled already: this very picture, {name}.")
        else:
            messages.error(request, f"Refused: {name}. {reason(report.error)}")
        for warning in report.warnings:
            messages.warning(
                request, f"Look at {name}: {warning.message} (similarity {warning.candidate.similarity:.2f})"
            )


@admin.register(Collection)
class CollectionAdmin(ModelAdmin[Collection]):
    """Tenants. The default one keeps its name and stays, as in the API."""

    list_display = ["name", "description", "active_model", "threshold", "created_at"]
    list_select_related = ["active_model"]
    search_fields = ["name"]
    fields = ["name", "description", "threshold", "active_model"]

    def get_readonly_fields(self, request: HttpRequest, obj: Collection | None = None) -> list[str]:
        if obj is None:
            return []
        return ["active_model", "name"] if obj.name == DEFAULT_COLLECTION else ["active_model"]

    def has_delete_permission(self, request: HttpRequest, obj: Collection | None = None) -> bool:
        is_default = obj is not None and obj.name == DEFAULT_COLLECTION
        return not is_default and super().has_delete_permission(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The list's own delete action asks here: the default collection is protected. What is in them is not told one
        by one: it may be millions."""
        told = [f"{collection}, with its people, cameras and all that they saw" for collection in objs]
        needed = set() if self.has_delete_permission(request) else {"collection"}
        kept = [str(collection) for collection in objs if collection.name == DEFAULT_COLLECTION]
        return told, {"collections": len(told)}, needed, kept

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        """As Django's, but not in one transaction."""
        return self._delete_view(request, object_id, extra_context)  # type: ignore[attr-defined]

    def delete_model(self, request: HttpRequest, obj: Collection) -> None:
        record(
            principal=principal_of_user(request),
            action=Action.ERASE,
            collection_id=obj.pk,
            details={"everybody": True},
        )
        identities.delete_collection(collection=obj)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Collection]") -> None:
        for collection in queryset:
            self.delete_model(request, collection)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"active_model": identities.default_embedding_model().pk}


@admin.register(EmbeddingModel)
class EmbeddingModelAdmin(ModelAdmin[EmbeddingModel]):
    list_display = ["name", "version", "dims", "metric", "state", "calibration", "index_dims"]
    readonly_fields = ["name", "version", "dims", "metric", "state", "calibration", "index_dims", "created_at"]

    @admin.display(description="numbers a vector in the index")
    def index_dims(self, model: EmbeddingModel) -> int:
        """Fewer than the model's where it has very many portraits."""
        reduction = reduction_of(model)
        return model.dims if reduction is None else reduction.dims

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: EmbeddingModel | None = None) -> bool:
        return False
