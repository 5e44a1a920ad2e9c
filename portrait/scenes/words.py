"""Words that a sentence about people may hold besides the people: a closed list, written by hand. Pure.

`portrait.scenes.names` puts a name into a sentence only if it knows every other word of it. So what may speak of
somebody else must not stand here: professions, relatives, names, groups, numbers, negations, parts of a body, pictures
and figures of people (`tv` as well, though COCO has that label), and words that are first names too ("rose", "sandy").
"""

_SAME = ("skis", "scissors", "sheep", "fish", "broccoli", "bison", "salmon", "deer")
_IRREGULAR = {
    "person": "people",
    "mouse": "mice",
    "knife": "knives",
    "leaf": "leaves",
    "shelf": "shelves",
    "loaf": "loaves",
    "bookshelf": "bookshelves",
    "scarf": "scarves",
    "wolf": "wolves",
    "goose": "geese",
    "ox": "oxen",
    "potato": "potatoes",
    "tomato": "tomatoes",
    **dict(zip(_SAME, _SAME, strict=True)),
}


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def plural(noun: str) -> str:
    """ "dog" -> "dogs", "bus" -> "buses", "puppy" -> "puppies"."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def _both(nouns: frozenset[str]) -> frozenset[str]:
    return nouns | {plural(noun) for noun in nouns}


PREPOSITIONS = _set(
    """in on at with by near next behind beside under over from inside outside between against above below into
    through across along around onto among underneath toward towards beneath amid alongside atop off past for"""
)
LINKS = _set("and is are was were who that has have while to up down out")
SMALL = _set(
    """a an the it its this these some several many very there be front top together outdoors indoors away
    side down full covered alone"""
)
OWN = frozenset({"his", "her", "their"})
"""Whose: only where it can be those of the phrase."""

DETERMINERS = OWN | _set("a an the this these its some several many")
GO_ON = DETERMINERS | _set("and with of by to is are was were who that has have while for")
"""After one of these more has to come."""

POSTURES = _set(
    """sitting standing walking running lying laying smiling jumping kneeling waiting leaning sleeping laughing posing
    crouching squatting resting swimming dancing singing skiing surfing skateboarding snowboarding skating bending
    climbing hiking relaxing crawling yawning bowing talking speaking looking staring swinging sits stands walks runs
    lies smiles jumps kneels waits leans sleeps laughs poses skis surfs skateboards snowboards talks looks sit stand
    walk run lie jump kneel wait lean sleep laugh pose talk look seated dressed posed"""
)
"""What one does alone: nothing is done to a thing."""
ACTIONS = _set(
    """wearing holding riding playing eating taking making using cutting reading drinking flying carrying driving
    throwing hitting catching kicking cooking watching having getting crossing preparing feeding petting touching
    pulling pushing opening closing washing brushing cleaning blowing tasting biting chewing sipping pouring stirring
    slicing serving grilling baking typing writing fixing repairing loading wears holds rides plays eats takes makes
    uses cuts reads drinks flies carries drives throws hits catches kicks watches crosses prepares feeds pets pulls
    pushes opens washes brushes wear hold ride play eat take make use cut read drink fly carry drive throw hit catch
    kick watch cross prepare feed pet pull push wash brush showing tossing balancing performing doing working leading
    herding milking grooming hugging surrounded wrapped"""
)
VERBS = POSTURES | ACTIONS
BASE_FORMS = _set(
    """sit stand walk run lie jump kneel wait lean sleep laugh pose talk look wear hold ride play eat take make
    use cut read drink fly carry drive throw hit catch kick watch cross prepare feed pet pull push wash brush"""
)
"""Of one person nobody says so: "a child play area"."""

ADVERBS = _set("happily quietly outside inside forward backwards sideways upside")
COLOURS = _set(
    """red orange yellow green blue purple pink brown black white gray grey beige tan silver golden gold maroon
    turquoise teal navy dark light bright colorful colourful striped plaid checkered floral patterned"""
)
QUALITIES = _set(
    """big large small little tiny huge tall long short wide narrow round square new old wooden metal plastic glass
    concrete brick stone leather open closed empty clean dirty wet dry cloudy snowy rainy grassy
    dirt fresh hot cold warm delicious half sliced cooked fried grilled fancy formal casual electric
    modern vintage shiny fluffy furry wild calm clear blurry blurred steep parked"""
)
LOOKS = COLOURS | QUALITIES
ANIMALS = _set(
    """bird cat dog horse sheep cow elephant bear zebra giraffe puppy kitten goat pig duck goose chicken rooster hen
    parrot owl eagle falcon seagull pigeon rabbit hamster squirrel monkey lion tiger deer camel donkey mule pony bull
    ox buffalo bison llama alpaca fish salmon dolphin whale turtle snake lizard frog butterfly bee horse animal
    penguin swan peacock ostrich fox wolf mouse"""
)
VEHICLES = _set(
    """bicycle car motorcycle airplane bus train truck boat bike motorbike scooter moped plane jet helicopter van taxi
    tractor trailer wagon cart carriage canoe kayak ship sailboat raft yacht ferry subway tram jeep vehicle sled
    stroller wheelchair tricycle"""
)
CLOTHES = _set(
    """tie suit shirt hat jacket coat dress skirt sweater hoodie vest scarf glove cap helmet shoe boot sandal sneaker
    sock belt uniform jersey blouse robe apron turban bandana necklace bracelet earring ring watch veil cardigan blazer
    tuxedo kimono sari swimsuit bikini wetsuit t-shirt tshirt sweatshirt bowtie necktie backpack handbag purse wallet
    bag beanie fedora collar sleeve gown top"""
)
ONLY_PLURAL = _set(
    "glasses sunglasses goggles jeans pants shorts trousers overalls pajamas clothes scissors rocks bushes"
)
CLOTHING = _set("denim clothing jewelry headphones lipstick makeup")
FURNITURE = _set(
    """bench chair couch bed toilet table sofa desk stool armchair shelf bookshelf cabinet drawer lamp rug carpet
    blanket pillow curtain sink oven stove microwave toaster refrigerator fridge dishwasher bathtub shower counter
    dresser closet cushion mattress crib hammock door window wall floor ceiling stair staircase step ladder fireplace
    rail railing fence gate pole post tent"""
)
THINGS = _set(
    """suitcase umbrella laptop remote keyboard book clock vase toothbrush computer phone cellphone smartphone camera
    microphone guitar piano violin drum trumpet tablet newspaper magazine paper notebook pen pencil letter box basket
    bucket tray towel candle balloon flower tree plant leaf branch log stick rope leash key tool hammer shovel broom
    rake hose bouquet luggage briefcase tripod telescope binocular light lantern toy teapot kettle pan pot grill
    barbecue fire flag bubble cigarette cigar pipe gun sword mask napkin tissue wheel engine saddle"""
)
TABLEWARE = _set("bottle cup fork knife spoon bowl glass mug plate wineglass jar can chopstick straw teacup")
SPORTS_THINGS = _set(
    """frisbee snowboard kite skateboard surfboard ball bat racket racquet bicycle baseball football basketball
    volleyball net goal ramp halfpipe paddle oar club puck wave disc trick"""
)
GAMES = _set(
    """tennis soccer golf hockey badminton cricket rugby baseball football basketball volleyball frisbee skis
    softball yoga chess game wii music"""
)
FOOD = _set(
    """banana apple sandwich orange broccoli carrot pizza donut cake doughnut bread toast cheese egg rice pasta noodle
    soup salad steak burger hamburger meat salmon bacon sausage vegetable fruit lemon lime strawberry grape melon
    watermelon pineapple tomato potato onion cucumber lettuce corn cookie cupcake pie pancake waffle chocolate dessert
    snack meal food breakfast lunch dinner coffee tea juice wine beer milk water drink soda cocktail smoothie taco
    burrito sushi popcorn cereal yogurt sauce slice piece"""
)
PLACES = _set(
    """room kitchen bathroom bedroom office street road sidewalk park beach field garden yard backyard forest river lake
    ocean sea pool mountain hill slope snow sand grass sky sun sunset sunrise city town village building house home
    church castle bridge restaurant cafe store market mall station airport stadium court gym zoo farm barn desert
    island harbor pier dock boardwalk path trail track lawn pasture meadow pond stream waterfall porch patio balcony
    deck roof garage hallway library museum hotel lobby parking lot intersection crosswalk curb corner background
    foreground countryside valley shore coast wood rain fog cloud puddle playground entrance driveway alley
    tunnel fountain space area middle edge ground"""
)
_COUNTED = CLOTHES | FURNITURE | THINGS | TABLEWARE | VEHICLES | ANIMALS | SPORTS_THINGS | PLACES
COUNTABLE = _COUNTED - GAMES - FOOD
"""One of these needs an article after a verb: a "sleeping bag" is a thing, and so is a "baby sleeping bag"."""
NAMELIKE = ANIMALS - FOOD - set(_SAME)
"""One of these needs an article everywhere: "next to tiger woods" speaks of somebody."""

NOUNS = _both(_COUNTED | FOOD) | GAMES | ONLY_PLURAL | CLOTHING
VOCABULARY = PREPOSITIONS | LINKS | SMALL | VERBS | ADVERBS | COLOURS | QUALITIES | NOUNS
FOLLOWERS = PREPOSITIONS | LINKS | VERBS
"""What may come right after the person. Anything else may belong to it ("a baby elephant"), and then it is none."""

_NOUN_PHRASES = (
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "sports ball", "baseball bat", "baseball glove"),
    *("tennis racket", "tennis racquet", "tennis ball", "tennis court", "wine glass", "hot dog", "potted plant"),
    *("dining table", "coffee table", "cell phone", "teddy bear", "hair drier", "hair dryer", "palm tree", "bow tie"),
    *("christmas tree", "ski slope", "soccer ball", "baseball field", "soccer field", "t - shirt", "polo shirt"),
    *("video game", "living room", "swimming pool", "body of water", "ice cream", "sandy beach", "rocky beach"),
)
OF = _set(
    """front top side middle edge cup glass plate bowl slice piece bottle bunch pair pile field box basket bag game
    stack loaf mug jar can"""
)
"""What an "of" may follow: "in front of", "a cup of". It never follows a person: "a man of war"."""
OF_ONLY = frozenset({"bunch", "pair", "pile", "stack"})
"""Words that mean a crowd if no "of" with things follows."""
FEATURES = frozenset({"hair", "beard", "mustache", "moustache", "goatee", "ponytail", "smile"})
"""Told of a person after "with" only: "a man with a long beard"."""
OBJECTS = LOOKS | NOUNS | FEATURES | OF | OF_ONLY | {"very"}
"""What may come after "a", "his", "several"."""
PHRASES = frozenset(
    tuple(phrase.split())
    for phrase in (
        *_NOUN_PHRASES,
        *(plural(phrase) for phrase in _NOUN_PHRASES),
        *(f"with {long}{look} hair" for long in ("", "long ", "short ") for look in ("blond", "blonde", "curly")),
        *(f"{how} for {whom} {what}" for how in ("posing", "poses", "pose") for whom in ("a", "the")
          for what in ("picture", "photo", "photograph", "camera")),
    )
)  # fmt: skip
OF_A_PERSON = frozenset({"face", "portrait", "smile"})
"""What of a person's means the person: "a woman's face"."""
