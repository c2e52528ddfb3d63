"""Spanish captions."""

from __future__ import annotations

from typing import ClassVar

from supclap.data.soundscenes.captions.grammar import Language, Synonyms, table
from supclap.data.soundscenes.captions.romance import Adjectives, Romance, class_names

# kind | article and head noun | complement | clause
WORDS = table(
    """
beep | un pitido | de aparato | un aparato pita
whistle | un silbido | de persona | alguien silba
church_bells | un tañido | de campana | una campana suena
siren | un aullido | de sirena | una sirena aúlla
car_horn | un bocinazo | de coche | un coche toca la bocina
flute | una melodía | de flauta | una flauta suena
guitar | una melodía | de guitarra | una guitarra suena
rain | un sonido | de lluvia | la lluvia cae
wind | un soplo | de viento | el viento sopla
sea_waves | un sonido | de olas | las olas rompen
steam | un siseo | de vapor | el vapor sisea
thunderstorm | un retumbo | de trueno | el trueno retumba
door_wood_knock | un sonido | de golpes en la puerta | alguien llama a una puerta
clapping | un sonido | de palmadas| alguien da palmadas
footsteps | un sonido | de pasos | alguien camina
hammer | un ruido | de martillo | un martillo golpea
drum | un redoble | de tambor | un tambor redobla
clock_tick | un tictac | de reloj | un reloj hace tictac
water_drops | un goteo | de agua | el agua gotea
crackling_fire | un crepitar | de fuego | el fuego crepita
dog | un ladrido | de perro | un perro ladra
cat | un maullido | de gato | un gato maúlla
chirping_birds | un trino | de pájaro | un pájaro trina
crickets | un canto | de grillo | un grillo canta
frog | un croar | de rana | una rana croa
crow | un graznido | de cuervo | un cuervo grazna
insects | un zumbido | de abeja | una abeja zumba
cow | un mugido | de vaca | una vaca muge
engine | un ruido | de motor | un motor funciona
helicopter | un ruido | de helicóptero | un helicóptero vuela
chainsaw | un ruido | de motosierra | una motosierra funciona
jackhammer | un ruido | de martillo neumático | un martillo neumático golpea el suelo
vacuum_cleaner | un ruido | de aspiradora | una aspiradora funciona
drilling | un ruido | de taladro | un taladro gira
rooster | un canto | de gallo | un gallo canta
pig | un gruñido | de cerdo | un cerdo gruñe
hen | un cacareo | de gallina | una gallina cacarea
sheep | un balido | de oveja | una oveja bala
pouring_water | un sonido | de agua vertida | alguien vierte agua
toilet_flush | un ruido | de cisterna | alguien tira de la cadena
crying_baby | un llanto | de bebé | un bebé llora
sneezing | un estornudo | | alguien estornuda
breathing | una respiración | | alguien respira
coughing | una tos | | alguien tose
laughing | una risa | | alguien ríe
brushing_teeth | un sonido | de cepillo de dientes | alguien se cepilla los dientes
snoring | un ronquido | | alguien ronca
drinking_sipping | un sonido | de sorbo | alguien bebe a sorbos
mouse_click | un clic | de ratón | alguien hace clic con un ratón
keyboard_typing | un sonido | de teclado | alguien teclea
door_wood_creaks | un chirrido | de puerta | una puerta chirría
can_opening | un sonido | de lata abierta | alguien abre una lata
washing_machine | un ruido | de lavadora | una lavadora funciona
clock_alarm | un timbre | de despertador | un despertador suena
glass_breaking | un sonido | de cristal roto | un cristal se rompe
train | un ruido | de tren | un tren pasa
airplane | un ruido | de avión | un avión vuela
fireworks | un estallido | de fuegos artificiales | unos fuegos artificiales estallan
hand_saw | un ruido | de sierra | alguien sierra madera
air_conditioner | un ruido | de aire acondicionado | un aire acondicionado funciona
children_playing | un sonido | de niños que juegan | unos niños juegan
gun_shot | un disparo |  | alguien dispara un arma
street_music | un sonido | de música callejera | un músico callejero toca
""",
    columns=3,
)

FRAMES = {
    "single": (
        "{a.noun}.",
        "Se oye {a.noun}.",
        "{a.clause}.",
        "En esta grabación {a.clause}.",
        "Solo {a.noun}, nada más.",
        "Aquí {a.clause}.",
    ),
    "then": (
        "{a.clause} y luego {b.clause}.",
        "Primero {a.noun}, luego {b.noun}.",
        "{a.noun}, y después de eso {b.noun}.",
        "Antes de {b.noun}, {a.noun}.",
        "Al principio {a.noun}, al final {b.noun}.",
        "Al principio {a.clause}; un momento más tarde {b.clause}.",
        "{b.noun}, y justo antes {a.noun}.",
    ),
    "together": (
        "{a.clause} mientras {b.clause}.",
        "{a.noun} y {b.noun} al mismo tiempo.",
        "Al mismo tiempo {a.clause} y {b.clause}.",
        "{a.noun}, junto con {b.noun}.",
        "Dos sonidos se superponen: {a.noun} y {b.noun}.",
        "Mientras {b.clause}, {a.clause}.",
    ),
}


class Spanish(Romance):
    WORDS = WORDS
    AND = "y"  # before none of these words does it become "e"
    ADJECTIVES: ClassVar[Adjectives] = {
        "high": (("agudo", "aguda"), ("chillón", "chillona")),
        "low": (("grave", "grave"), ("profundo", "profunda")),
        "fast": (("rápido", "rápida"), ("acelerado", "acelerada")),
        "slow": (("lento", "lenta"), ("pausado", "pausada")),
        "loud": (("fuerte", "fuerte"), ("intenso", "intensa")),
        "quiet": (("débil", "débil"), ("suave", "suave")),
    }
    # Of two adverbs in -mente the first would have to lose its ending: pace has none.
    ADVERBS: ClassVar[Synonyms] = {
        "high": ("en tono agudo", "con un tono alto"),
        "low": ("en tono grave", "con un tono bajo"),
        "fast": ("deprisa", "a ritmo rápido"),
        "slow": ("despacio", "a ritmo lento"),
        "loud": ("ruidosamente", "a gran volumen"),
        "quiet": ("suavemente", "a bajo volumen"),
        "near": ("cerca", "a poca distancia"),
        "far": ("a lo lejos", "en la lejanía"),
    }


LANGUAGE = Language(
    code="spa",
    words=WORDS,
    frames=FRAMES,
    spoken=Spanish,
    class_names=class_names(WORDS),
    prompt="Este es un sonido: {}.",
)
