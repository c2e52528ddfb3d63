"""English captions."""

from __future__ import annotations

from supclap.data.soundscenes.captions.grammar import Language, Spoken, spaced, table

# kind | noun phrase | clause
WORDS = table(
    """
beep | a beep | a device beeps
whistle | a whistle | someone whistles
church_bells | a bell chime | a bell rings
siren | a siren wail | a siren wails
car_horn | a car horn | a car honks
flute | a flute melody | a flute plays
guitar | a guitar melody | a guitar plays
rain | a rain sound | rain falls
wind | a wind sound | the wind blows
sea_waves | a sea wave sound | sea waves break
steam | a steam hiss | steam hisses
thunderstorm | a thunder rumble | thunder rumbles
door_wood_knock | a knocking sound | someone knocks on a door
clapping | a clapping sound | someone claps
footsteps | a footstep sound | someone walks
hammer | a hammering sound | a hammer strikes
drum | a drum beat | a drum beats
clock_tick | a ticking sound | a clock ticks
water_drops | a dripping sound | water drips
crackling_fire | a fire crackle | a fire crackles
dog | a dog bark | a dog barks
cat | a meow | a cat meows
chirping_birds | a bird chirp | a bird chirps
crickets | a cricket chirp | a cricket chirps
frog | a frog croak | a frog croaks
crow | a crow call | a crow caws
insects | a buzzing sound | a bee buzzes
cow | a moo | a cow moos
engine | an engine sound | an engine runs
helicopter | a helicopter sound | a helicopter flies
chainsaw | a chainsaw sound | a chainsaw runs
jackhammer | a jackhammer sound | a jackhammer pounds
vacuum_cleaner | a vacuum cleaner sound | a vacuum cleaner runs
drilling | a drilling sound | a drill whirs
rooster | a rooster crow | a rooster crows
pig | a pig grunt | a pig grunts
hen | a hen cluck | a hen clucks
sheep | a bleat | a sheep bleats
pouring_water | a pouring sound | someone pours water
toilet_flush | a toilet flush | a toilet flushes
crying_baby | a baby cry | a baby cries
sneezing | a sneeze | someone sneezes
breathing | a breathing sound | someone breathes
coughing | a cough | someone coughs
laughing | a laugh | someone laughs
brushing_teeth | a toothbrushing sound | someone brushes their teeth
snoring | a snore | someone snores
drinking_sipping | a sip | someone sips a drink
mouse_click | a mouse click | someone clicks a mouse
keyboard_typing | a typing sound | someone types on a keyboard
door_wood_creaks | a door creak | a door creaks
can_opening | a can opening sound | someone opens a can
washing_machine | a washing machine sound | a washing machine runs
clock_alarm | an alarm clock sound | an alarm clock rings
glass_breaking | a glass breaking sound | glass shatters
train | a train sound | a train passes
airplane | an airplane sound | an airplane flies
fireworks | a firework bang | a firework explodes
hand_saw | a sawing sound | someone saws wood
air_conditioner | an air conditioner hum | an air conditioner hums
children_playing | a sound of playing children | children play
gun_shot | a gunshot | someone fires a gun
street_music | a street music sound | a street musician performs
""",
    columns=2,
)

ADJECTIVES = {
    "high": ("high-pitched", "shrill"),
    "low": ("low-pitched", "deep"),
    "fast": ("fast", "rapid"),
    "slow": ("slow", "slow-paced"),
    "loud": ("loud", "noisy"),
    "quiet": ("quiet", "soft"),
}
ADVERBS = {
    "high": ("at a high pitch", "in a high tone"),
    "low": ("at a low pitch", "in a low tone"),
    "fast": ("fast", "rapidly"),
    "slow": ("slowly", "at a slow pace"),
    "loud": ("loudly", "noisily"),
    "quiet": ("quietly", "softly"),
    "near": ("nearby", "close by"),
    "far": ("in the distance", "far away"),
}

FRAMES = {
    "single": (
        "{a.noun}.",
        "{a.noun} can be heard.",
        "{a.clause}.",
        "In this recording {a.clause}.",
        "Only {a.noun}, nothing else.",
        "Here {a.clause}.",
    ),
    "then": (
        "{a.clause}, then {b.clause}.",
        "First {a.noun}, then {b.noun}.",
        "{a.noun}, and after that {b.noun}.",
        "Before {b.clause}, {a.clause}.",
        "At the start {a.noun}, at the end {b.noun}.",
        "At first {a.clause}; a moment later {b.clause}.",
        "{b.noun}, and just before it {a.noun}.",
    ),
    "together": (
        "{a.clause} while {b.clause}.",
        "{a.noun} and {b.noun} at the same time.",
        "At the same time {a.clause} and {b.clause}.",
        "{a.noun}, together with {b.noun}.",
        "Two sounds overlap: {a.noun} and {b.noun}.",
        "As {b.clause}, {a.clause}.",
    ),
}


class English(Spoken):
    @property
    def noun(self) -> str:
        article, head = WORDS[self.kind][0].split(" ", 1)
        adjectives = ", ".join(self.said(ADJECTIVES, "level", "pace", "pitch"))
        if adjectives:
            article = "a"  # no adjective begins with a vowel
        return spaced(article, adjectives, head, *self.said(ADVERBS, "distance"))

    @property
    def clause(self) -> str:
        manner = " and ".join(self.said(ADVERBS, "pace", "level"))
        return spaced(WORDS[self.kind][1], manner, *self.said(ADVERBS, "pitch", "distance"))


LANGUAGE = Language(
    code="eng",
    words=WORDS,
    frames=FRAMES,
    spoken=English,
    class_names={
        kind: noun.split(" ", 1)[1].removesuffix(" sound") for kind, (noun, _) in WORDS.items()
    },
    prompt="This is a sound of {}.",
)
