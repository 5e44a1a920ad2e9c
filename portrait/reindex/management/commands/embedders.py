"""Embedding models: `manage.py embedders list|add|learn|remove`."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from portrait.core.errors import PortraitError
from portrait.core.pipelines import embedder_specs
from portrait.gallery.models import Collection, EmbeddingModel
from portrait.reindex.models import OPEN, Reindex
from portrait.reindex.services.learning import bytes_of, learn, unlearn
from portrait.reindex.services.starting import find_model


class Command(BaseCommand):
    help = (
        "List the embedding models, add a network, learn a smaller model from the faces of a collection, or remove one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="the models, and which collections are searched by them")
        add = actions.add_parser("add", help="make a network of inference.config.EMBEDDERS usable for collections")
        add.add_argument("name")
        learnt = actions.add_parser("learn", help="principal components of the vectors of a collection")
        learnt.add_argument("--collection", default="default", help="name; default: default")
        learnt.add_argument("--dims", type=int, default=64, help="numbers a face; default: 64")
        learnt.add_argument("--half", action="store_true", help="two bytes a number, not four")
        learnt.add_argument("--name", help="default: that of the network with -pca64, or -pca64h")

        removed = actions.add_parser("remove", help="a learnt model that no collection ever used")
        removed.add_argument("name", help="as NAME@VERSION where several have the name")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except PortraitError as error:
            raise CommandError(error.message) from None

    def _list(self, options: dict[str, Any]) -> None:
        table = Table("model", "numbers", "bytes", "of", "state", "collections")
        for model in EmbeddingModel.objects.select_related("source").order_by("pk"):
            used = Collection.objects.filter(active_model=model).order_by("name").values_list("name", flat=True)
            names = [*used[:5], "..."] if len(used) > 5 else list(used)
            table.add_row(
                str(model),
                str(model.dims),
                str(bytes_of(model)),
                str(model.source or "a network"),
                _state(model, names),
                ", ".join(names),
            )
        console = Console(width=140)
        with console.capture() as told:
            console.print(table)
        self.stdout.write(told.get())
        known = set(EmbeddingModel.objects.values_list("name", "version"))
        for spec in embedder_specs().values():
            if (spec.name, spec.version) not in known:
                self.stdout.write(f"Not added yet: {spec.name} {spec.version} (manage.py embedders add {spec.name})")

    def _add(self, options: dict[str, Any]) -> None:
        spec = embedder_specs().get(options["name"])
        if spec is None:
            raise CommandError(f"There is no network {options['name']!r}: {', '.join(sorted(embedder_specs()))}.")
        values = {"dims": spec.dims, "calibration": asdict(spec.calibration)}
        model, made = EmbeddingModel.objects.get_or_create(name=spec.name, version=spec.version, defaults=values)
        self.stdout.write(f"{model} is {'added' if made else 'there already'}: manage.py reindex --model {model.name}")

    def _remove(self, options: dict[str, Any]) -> None:
        model = find_model(options["name"])
        unlearn(model)
        self.stdout.write(f"{model} is removed.")

    def _learn(self, options: dict[str, Any]) -> None:
        collection = (
            Collection.objects.select_related("active_model__source").filter(name=options["collection"]).first()
        )
        if collection is None:
            raise CommandError(f"There is no collection {options['collection']!r}.")
        model = learn(collection=collection, dims=options["dims"], half=options["half"], name=options["name"])
        held, told = model.report["held_out"], model.report
        say = self.stdout.write
        say(f"{model}: {model.dims} numbers, learnt from {told['learnt_from']['vectors']} portraits")
        say(f"  variance explained: {told['explained_variance']:.1%}; curve {told['curve']}")
        say(f"  bytes a vector: {told['bytes_a_vector']['here']}, not {told['bytes_a_vector']['source']}")
        say(f"  on {held['people']} people whom it was not learnt from, {model.source} beside it:")
        say(f"    nearest is right: {held['identity_at_1']['here']:.2%}, {held['identity_at_1']['source']:.2%}")
        rates = held["tar_at_far_0.001"]
        say(f"    accepted at 1 false in 1,000: {rates['here']:.2%}, {rates['source']:.2%}")
        pairs = held["genuine_pairs"] + held["impostor_pairs"]
        say(f"    the same decision: {held['same_decisions']:.3%} of {pairs} pairs")
        say(f"Use it: manage.py reindex --model {model.name}@{model.version} --collection {collection.name}")


def _state(model: EmbeddingModel, collections: list[str]) -> str:
    """In words where the row's own say too little."""
    if model.state == EmbeddingModel.State.BUILDING:
        building = Reindex.objects.filter(to_model=model, state__in=OPEN).exists()
        return "being built" if building else "not used yet"
    return "kept" if model.state == EmbeddingModel.State.ACTIVE and not collections else str(model.state)
