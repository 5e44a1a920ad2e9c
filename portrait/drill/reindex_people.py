"""Who is enrolled when the drill of the re-index begins, who comes while it runs, and the model it goes to."""

import hashlib
import io
from collections.abc import Sequence
from uuid import uuid4

import numpy as np
from django.core.files.base import ContentFile
from PIL import Image, ImageEnhance

from inference.codec import decode
from inference.types import Box, Embedding, Face, Quality
from portrait.core.pipelines import embedder_spec, face_pipeline
from portrait.demo.photos import built_in
from portrait.gallery.models import Collection, EmbeddingModel, Identity, Portrait, PortraitEmbedding
from portrait.gallery.services.identities import create_collection, default_embedding_model
from portrait.gallery.services.photos import PreparedPhoto
from portrait.gallery.vectors import pack_projection

COLLECTION, DIMS = "drill-reindex", 120
MARK = "drill"
"""The detector of those portraits whose vectors the worker has to make."""


def gallery(count: int) -> Collection:
    """The demo's people with many portraits, each a little different, and real pictures."""
    collection = create_collection(name=COLLECTION)
    for name, photos in built_in().people.items():
        identity = Identity.objects.create(collection=collection, name=name)
        base = Image.open(io.BytesIO(photos[0].data)).convert("RGB")
        face = max(face_pipeline().analyse([decode(photos[0].data)])[0].faces, key=lambda each: each.box.area)
        share = count // len(built_in().people)
        pictures = [_altered(base, index, share) for index in range(share)]
        _enrol_all(collection, identity, pictures, face)
    return collection


def _altered(base: Image.Image, index: int, count: int) -> bytes:
    """No two are the same file."""
    buffer, image = io.BytesIO(), ImageEnhance.Brightness(base).enhance(0.85 + 0.3 * index / count)
    image.save(buffer, "JPEG", quality=92, comment=str(index))
    return buffer.getvalue()


def _enrol_all(collection: Collection, identity: Identity, pictures: Sequence[bytes], face: Face) -> None:
    """All with the first picture's face and vector, which the others are as good as."""
    for data in pictures:
        width, height = Image.open(io.BytesIO(data)).size
        portrait = Portrait(
            identity=identity,
            width=width,
            height=height,
            box=face.box.as_list(),
            landmarks=face.landmarks.as_dict() if face.landmarks else None,
            detector=MARK,
            score=face.score,
            quality={},
            sha256=hashlib.sha256(data).hexdigest(),
        )
        portrait.image.save("image.jpg", ContentFile(data), save=False)
        portrait.thumbnail.save("thumbnail.jpg", ContentFile(data[:64]), save=False)
        portrait.save()
        PortraitEmbedding.objects.create(
            portrait=portrait,
            model=collection.active_model,
            collection=collection,
            identity=identity,
            vector=face.embedding.vector,
        )


def model() -> EmbeddingModel:
    """A smaller model: the network's vectors along random orthogonal axes, stretched as much as they lose."""
    source = default_embedding_model()
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(source.dims, source.dims)))[0][:DIMS]
    axes *= np.sqrt(source.dims / DIMS)
    return EmbeddingModel.objects.create(
        name="drill-small",
        version="1",
        dims=DIMS,
        precision=EmbeddingModel.Precision.HALF,
        source=source,
        projection=pack_projection(np.zeros(source.dims, np.float32), axes.astype(np.float32)),
        calibration=source.calibration,
    )


def newcomer(number: int) -> PreparedPhoto:
    """Somebody far from all others, without a picture."""
    vector = np.random.default_rng(100 + number).normal(size=embedder_spec().dims)
    vector = 3.0 * vector / np.linalg.norm(vector)
    quality = Quality(0.9, 80.0, 30.0, 100.0, 0.9, 0.0, 0.0)
    face = Face(Box(0.0, 0.0, 5.0, 5.0), 0.9, None, quality, Embedding(embedder_spec().name, vector.astype(np.float32)))
    return PreparedPhoto(uuid4().hex * 2, 10, 10, b"none", b"none", face.box, None, face)
