"""A gallery with real pictures for `reindex`, and the model that it is re-indexed to. Only where Django is set up."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from django.core.files.base import ContentFile
from PIL import Image, ImageEnhance

from inference.codec import decode
from inference.faces.align import align
from inference.faces.embed import Embedder
from inference.faces.pipeline import FacePipeline
from inference.types import Box, Face, FaceDetection, Landmarks
from portrait.demo.photos import built_in
from portrait.gallery.models import Collection, EmbeddingModel, Identity, Portrait, PortraitEmbedding
from portrait.gallery.services.identities import create_collection
from portrait.gallery.vectors import own_calibration, pack_projection
from portrait.reindex import pca

NAME, DIMS = "reindex-bench", 64


@dataclass(frozen=True, slots=True)
class Picture:
    """A portrait's picture and where its face is."""

    who: str
    jpeg: bytes
    face: Face


def pictures(faces: FacePipeline, count: int) -> list[Picture]:
    """So many different pictures: the demo's people, each time a little brighter, darker or smaller."""
    found: list[Picture] = []
    people = [(name, photo.data) for name, photos in built_in().people.items() for photo in photos]
    for index in range(count):
        name, data = people[index % len(people)]
        image = Image.open(io.BytesIO(data)).convert("RGB")
        step = index // len(people)
        image = ImageEnhance.Brightness(image).enhance(0.8 + 0.4 * (step % 20) / 20)
        side = round(image.width * (0.8 + 0.2 * (step // 20 % 10) / 10))
        image = image.resize((side, round(side * image.height / image.width)))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95, comment=str(index))
        jpeg = buffer.getvalue()
        face = max(faces.analyse([decode(jpeg)])[0].faces, key=lambda each: each.box.area)
        found.append(Picture(name, jpeg, face))
    return found


def build(made: Sequence[Picture]) -> Collection:
    """Two people, many portraits each, and strangers around them so that names can be wrong."""
    collection = create_collection(name=NAME)
    people = {who: Identity.objects.create(collection=collection, name=who) for who in {each.who for each in made}}
    for each in made:
        image = decode(each.jpeg)
        portrait = Portrait(
            identity=people[each.who],
            width=image.shape[1],
            height=image.shape[0],
            box=each.face.box.as_list(),
            landmarks=each.face.landmarks.as_dict() if each.face.landmarks else None,
            detector="centerface",
            score=each.face.score,
            quality={},
            sha256=hashlib.sha256(each.jpeg).hexdigest(),
        )
        portrait.image.save("image.jpg", ContentFile(each.jpeg), save=False)
        portrait.thumbnail.save("thumbnail.jpg", ContentFile(each.jpeg[:100]), save=False)
        portrait.save()
        PortraitEmbedding.objects.create(
            portrait=portrait,
            model=collection.active_model,
            collection=collection,
            identity=portrait.identity,
            vector=each.face.embedding.vector,
        )
    return collection


def small_model(source: EmbeddingModel, vectors: np.ndarray, people: np.ndarray) -> EmbeddingModel:
    """Principal components in half precision, as `embedders learn` makes them of a larger collection."""
    found = pca.principal_components(vectors, DIMS)
    after = ((vectors - found.mean) @ found.axes.T).astype(np.float16).astype(np.float32)
    pairs = pca.pairs_of(people, np.random.default_rng(0), genuine=20_000, impostor=20_000)
    before = pca.similarities(own_calibration(source), pairs.distances(vectors))
    curve = pca.fitted(pairs.distances(after), before, pca.balanced(pairs.same))
    return EmbeddingModel.objects.create(
        name="bench-pca64h",
        version="1",
        dims=DIMS,
        precision="half",
        source=source,
        projection=pack_projection(found.mean, found.axes),
        calibration=asdict(curve),
    )


def bare_loop(keys: Sequence[tuple[str, list[float], dict | None, float]], network: Embedder, batch: int) -> int:
    """What has to be done at the least: read, decode, align, the network, in the same batches; no database."""
    for start in range(0, len(keys), batch):
        chips = []
        for path, box, marks, score in keys[start : start + batch]:
            with open(path, "rb") as file:
                image = decode(file.read())
            landmarks = Landmarks(**{name: (x, y) for name, (x, y) in marks.items()}) if marks else None
            chips.append(align(image, FaceDetection(Box(*box), score, landmarks), network.spec))
        network.embed(chips)
    return len(keys)
