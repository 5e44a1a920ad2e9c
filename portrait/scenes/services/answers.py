"""What was told of pictures, as JSON. As it is kept it names people by id only; names are put in where it is read."""

from collections.abc import Sequence
from typing import Any

from inference.errors import ImageError
from inference.scenes.rle import mask_to_rle
from inference.types import SceneObject as FoundObject
from portrait.core.errors import PortraitError, problem_json
from portrait.gallery.models import Identity
from portrait.gallery.reports import identity_json
from portrait.scenes.models import Caption, Method, SceneObject, Segmentation
from portrait.scenes.names import Face, with_names
from portrait.scenes.selectors import Person, Subject, identities, objects_of, people_of
from portrait.scenes.sentences import Plan, describe
from portrait.scenes.services.looking import Segmented, Told

NOBODY_ASKED = "People were not looked for."
NOT_YET = "The faces of this frame are not known yet: it waits to be processed."
ERASED = "Somebody in the picture was erased since."


def told_json(told: Told | PortraitError | ImageError) -> dict[str, Any]:
    """To be kept: without a name. `presented` makes an answer of it."""
    if not isinstance(told, Told):
        return {"error": problem_json(told)}
    return {
        "caption": told.text,
        "model": told.model,
        "method": told.method.value,
        "domain": told.domain,
        "faces": told.faces,
        "people": None if told.people is None else [person.as_json() for person in told.people],
        "plan": told.plan and told.plan.as_json(),
    }


def caption_json(caption: Caption, subject: Subject, people: Sequence[Person]) -> dict[str, Any]:
    """A stored caption, in the form of `told_json`: with who is in the picture now."""
    faces = caption.faces if subject.portrait is not None else len(people)
    return {
        "caption": caption.text,
        "model": caption.model,
        "method": caption.method,
        "domain": caption.domain,
        "faces": faces if subject.looked_at else None,
        "people": [person.as_json() for person in people] if subject.looked_at else None,
        "plan": caption.settings.get("plan"),
        "reason": "" if subject.looked_at else NOT_YET,
    }


def stored_json(caption: Caption, subject: Subject) -> dict[str, Any]:
    return caption_json(caption, subject, people_of(subject))


def presented(kept: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers, with the names that people have now; of who is gone nothing is left. Two queries at most."""
    wanted = {person["identity"] for each in kept for person in each.get("people") or () if person["identity"]}
    known = identities(wanted) if wanted else {}
    return [each if "error" in each else _presented(each, known) for each in kept]


def people_json(people: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """People as an answer lists them, in the form of `Person.as_json`; who is gone is left out."""
    wanted = {person["identity"] for person in people if person["identity"]}
    return _listed(people, identities(wanted) if wanted else {})


def _listed(people: Sequence[dict[str, Any]], known: dict[str, Identity]) -> list[dict[str, Any]]:
    there = [person for person in people if person["identity"] is None or person["identity"] in known]
    return [
        person | {"identity": identity_json(known[person["identity"]]) if person["identity"] else None}
        for person in there
    ]


def _presented(kept: dict[str, Any], known: dict[str, Identity]) -> dict[str, Any]:
    listed = kept.get("people")
    there = [person for person in listed or () if person["identity"] is None or person["identity"] in known]
    gone = len(there) < len(listed or ()) or bool(kept.get("erased"))
    text, reason = (None, ERASED) if gone else _named(kept, _faces(there, known), asked=listed is not None)
    answer = {"caption": kept["caption"], "model": kept["model"], "method": kept["method"]}
    if kept["domain"]:
        answer["domain"] = kept["domain"]
    answer |= {"people": _listed(there, known), "caption_with_names": text}
    return answer if text is not None else answer | {"names_reason": reason}


def _faces(people: Sequence[dict[str, Any]], known: dict[str, Identity]) -> list[Face]:
    """Of faces that look like one person all but the first are nobody's: at most one of them is that person."""
    faces, met = [], set[str | None]()
    for person in people:
        who = person["identity"]
        name = None if who is None or who in met else _name(known[who])
        faces.append(Face(name, person["box"][0]))
        met.add(who)
    return faces


def _name(identity: Identity) -> str | None:
    """The name, of somebody who may be named in a sentence."""
    if identity.hidden or identity.kind != Identity.Kind.KNOWN:
        return None
    return identity.name.strip() or None


def _named(kept: dict[str, Any], faces: Sequence[Face], *, asked: bool) -> tuple[str | None, str]:
    if not asked:
        return None, kept.get("reason") or NOBODY_ASKED
    if kept["faces"] is not None and len(faces) < kept["faces"]:
        return None, "The picture shows other faces too."
    if kept["method"] == Method.RULES and kept.get("plan"):
        names = [face.name for face in sorted(faces, key=lambda face: face.x) if face.name]
        return (
            (describe(Plan.from_json(kept["plan"]), names), "") if names else (None, "Nobody in the picture is known.")
        )
    named = with_names(kept["caption"], faces)
    return named.text, named.reason


def object_json(found: FoundObject) -> dict[str, Any]:
    return {
        "label": found.label,
        "score": round(float(found.score), 4),
        "box": found.box.as_list(),
        "mask": mask_to_rle(found.mask),
    }


def segmented_json(segmented: Segmented) -> dict[str, Any]:
    height, width = segmented.image.shape[:2]
    objects = [object_json(each) for each in segmented.objects]
    return _with_domain(width, height, segmented.model, segmented.domain, objects)


def _with_domain(width: int, height: int, model: str, domain: str, objects: list[dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {"image": {"width": width, "height": height}, "model": model}
    if domain:
        told["domain"] = domain
    return told | {"objects": objects}


def stored_object_json(found: SceneObject) -> dict[str, Any]:
    """An object that is stored, as `object_json` tells it, with who found it."""
    told = _shown(found) | {"model": found.segmentation.model}
    return told | ({"domain": found.segmentation.domain} if found.segmentation.domain else {})


def _shown(found: SceneObject) -> dict[str, Any]:
    return {"label": found.label, "score": found.score, "box": found.box, "mask": found.mask}


def stored_segmentation_json(subject: Subject, found: Segmentation) -> dict[str, Any]:
    """As `segmented_json`, of what is stored."""
    row = subject.row
    objects = [_shown(each) for each in objects_of([found])]
    return _with_domain(row.width, row.height, found.model, found.domain, objects)
