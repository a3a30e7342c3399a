"""The vocabulary of the simulated world.

Real words in semantic fields, so that a sentence encoder sees part of them.

Each field is a primary class: `name: general words | specific words`. Secondary classes share out a
field's specific words; topics take theirs from `SCENES`, which cut across the fields.

>>> FIELDS["cooking"].general
('recipe', 'kitchen', 'chef', 'meal')
>>> len(FIELDS), min(len(f.specific) for f in FIELDS.values()), len(SCENES) == len(set(SCENES))
(50, 14, True)
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32


class Field(NamedTuple):
    """Words of one primary class."""

    general: tuple[str, ...]
    specific: tuple[str, ...]


_FIELDS = """
cooking: recipe kitchen chef meal |
  bread soup noodle cake grill sauce salad knife oven spice cheese egg rice dessert
football: football goal stadium league |
  striker penalty keeper dribble referee corner tackle freekick derby coach jersey transfer header offside
animals: animal pet wild creature |
  puppy kitten parrot horse turtle elephant rabbit fox owl dolphin hamster tiger bear penguin
travel: travel trip journey tourist |
  hotel passport airport cruise hostel luggage island backpack itinerary visa ferry landmark souvenir sightseeing
music: music song melody concert |
  guitar piano drums violin singer chorus rapper orchestra vinyl remix jazz opera choir bassline
fitness: fitness workout training muscle |
  squat pushup plank cardio dumbbell stretching abs treadmill deadlift protein jumprope kettlebell warmup core
makeup: makeup beauty cosmetics glamour |
  lipstick eyeliner foundation mascara blush skincare nails perfume eyebrow contour glitter serum concealer palette
gaming: gaming gameplay player console |
  boss speedrun sniper quest loot controller arcade puzzle zombie dungeon multiplayer pixel respawn walkthrough
cars: car engine driving garage |
  sedan turbo drift tires exhaust racing pickup convertible gearbox dashboard brakes bumper horsepower rally
gardening: garden plant soil gardener |
  tomato rose compost seedling pruning greenhouse weeds lawn orchid cactus shovel herb mulch bonsai
science: science experiment laboratory scientist |
  magnet molecule volcano telescope microscope gravity electron chemistry fossil laser bacteria atom physics reaction
fashion: fashion outfit style clothes |
  dress sneakers jacket handbag jeans scarf runway vintagewear skirt hat boots tailor denim necklace
comedy: comedy funny joke laugh |
  prank parody standup sketch blooper roast impression clown awkward sarcasm pun slapstick comedian punchline
news: news headline report journalist |
  election minister protest parliament interview summit border court scandal debate policy ballot treaty press
finance: money finance investing bank |
  stocks budget mortgage crypto savings taxes pension credit dividend loan inflation insurance trader salary
dance: dance dancer choreography rhythm |
  ballet hiphop salsa tango breakdance twirl ballroom flamenco shuffle waltz tapdance rehearsal pirouette troupe
movies: movie film cinema actor |
  trailer director sequel villain thriller screenplay stunt premiere soundtrack western screening cameo plot oscar
education: lesson school teacher student |
  algebra exam grammar homework essay classroom library geometry scholarship vocabulary history quiz tutor campus
technology: technology gadget device digital |
  smartphone laptop robot drone battery headphones camera software router keyboard chip tablet printer smartwatch
painting: painting art artist canvas |
  watercolor portrait brush sketchbook mural charcoal easel acrylic calligraphy gallery pastel doodle sculpture landscape
family: family parent child home |
  baby toddler grandma wedding birthday siblings pregnancy bedtime stroller daughter twins nursery diaper cousin
basketball: basketball court hoop team |
  dunk rebound crossover layup buzzer threepointer playoff assist pointguard timeout rookie draft fastbreak blockshot
fishing: fishing angler river catch |
  trout lure bait hook rod boat bass salmon net carp reel icefishing lake crab
camping: camping tent outdoors hiking |
  campfire trail sleepingbag compass canoe lantern forest summit waterfall marshmallow hammock firewood ranger canyon
woodworking: woodwork carpenter workshop timber |
  chisel saw table plywood varnish cabinet lathe drill sanding bookshelf joinery walnut bench clamp
health: health doctor medicine patient |
  vaccine headache surgery vitamins sleep allergy heart dentist therapy diabetes nurse symptom hospital posture
history: history ancient empire century |
  pyramid knight pharaoh castle samurai revolution emperor gladiator viking archaeology monarchy crusade ruins manuscript
space: space astronaut rocket galaxy |
  moon mars satellite orbit asteroid comet eclipse nebula spaceship blackhole saturn launch supernova meteor
weather: weather storm forecast climate |
  tornado blizzard thunder hurricane rain fog heatwave flood lightning hail snow drought breeze rainbow
farming: farm farmer harvest rural |
  tractor cow wheat barn sheep chicken corn pig orchard milk goat hay irrigation plough
crafts: craft handmade diy creative |
  knitting origami crochet pottery embroidery candle scrapbook beads quilt sewing yarn ceramics stickers weaving
motorcycles: motorcycle biker ride helmet |
  chopper scooter throttle wheelie motocross sidecar superbike chain enduro leather clutch touring stunting dirtbike
aviation: airplane pilot flight aviation |
  cockpit helicopter runway jet glider propeller landing turbulence biplane airshow takeoff hangar parachute airline
trains: train railway station locomotive |
  steam subway tram tunnel conductor freight platform carriage signal monorail bullet rails viaduct timetable
swimming: swimming pool swimmer water |
  freestyle butterfly diving backstroke snorkel goggles lifeguard lap waterpolo breaststroke scuba medley splash relay
tennis: tennis racket match tournament |
  serve backhand volley ace forehand clay deuce baseline umpire doubles smash topspin grass wimbledon
winter: ski snowboard slope alpine |
  icerink hockey sled avalanche chairlift powder figureskating iceclimbing slalom curling puck skijump halfpipe chalet
magic: magic magician trick illusion |
  cards levitation wand mentalism escape coin hat sleight vanish hypnosis deck mirror assistant prediction
anime: anime manga cosplay otaku |
  ninja mecha sensei dragon samurai chibi shonen kaiju fanart wig convention sidekick spirit transformation
architecture: architecture building architect house |
  skyscraper bridge cathedral interior bathroom loft staircase facade dome apartment brick renovation balcony villa
photography: photography photo lens shutter |
  portrait tripod darkroom exposure bokeh flash studio wildlife selfie timelapse editing negative filter zoom
ocean: ocean sea marine wave |
  shark coral whale lighthouse surfing submarine octopus jellyfish tide shipwreck seagull sailing reef harbor
insects: insect bug larva wings |
  ant bee butterfly spider beetle moth dragonfly mosquito hive caterpillar cricket wasp firefly mantis
psychology: mind psychology emotion behavior |
  anxiety memory dream motivation habit loneliness introvert meditation confidence anger burnout empathy attention trauma
coding: coding programming developer code |
  python database algorithm website compiler javascript debugging server startup hackathon framework encryption app interface
boxing: boxing fight fighter ring |
  knockout jab gloves wrestling judo karate uppercut kickboxing champion sparring footwork referee belt mma
coffee: coffee cafe drink barista |
  espresso latte tea cocktail smoothie beer wine juice lemonade cappuccino brew whiskey matcha milkshake
toys: toy play kids fun |
  lego doll slime teddy puzzle yoyo trainset balloon dinosaur kite bubbles marbles robotkit unboxing
law: law lawyer judge crime |
  trial detective murder prison evidence robbery police verdict witness contract forensic fraud jury sheriff
spirituality: faith prayer soul wisdom |
  temple church yoga monk angel pilgrimage candlelight scripture tarot astrology incense shrine blessing karma
"""

_SCENES = """
beach mountain desert jungle village city rooftop basement bridge market castle harbor island meadow cave glacier
sunset midnight morning autumn spring summer winter christmas halloween carnival festival holiday weekend birthday
giant tiny golden silver wooden plastic paper glass steel velvet leather rusty frozen burning flying broken hidden
neon pink purple turquoise crimson emerald black white striped spotted colorful transparent shiny dusty fluffy
secret haunted royal ancient futuristic vintage retro medieval tropical arctic urban rural luxury cheap homemade
japanese italian mexican indian korean french brazilian egyptian african nordic chinese texan russian turkish thai
fast slow silent loud lazy crazy scary romantic lonely happy angry sleepy hungry brave clumsy elegant chaotic sweet
dragon wolf cat dog monkey snake eagle lion panda shark unicorn dinosaur chicken frog bee horse ghost robot alien
pirate princess soldier grandfather teenager twin stranger neighbor celebrity millionaire beginner expert champion
umbrella ladder bicycle balloon mirror candle bottle suitcase bucket rope hammer pillow chair piano clock treasure map
chocolate banana lemon pepper honey garlic coconut mushroom pumpkin pizza burger pancake strawberry avocado onion
rain snow thunder fire smoke water sand mud ice wind moonlight shadow rainbow storm lightning fog stars
hospital museum prison school train elevator bathroom bedroom stadium factory supermarket church theater subway farm
"""

_BACKGROUND = """
the to a in of my this how and you is best i for with on what it we new at from first day video why part watch time
never ever every your not all made get one when after can top more most make only real made full before who out really
best life just here see still again today finally tried day little big good better great perfect simple easy quick long
short ultimate amazing incredible unbelievable must people everyone nobody think know need want love hate found wait
end start challenge story review tips guide facts reasons things ways minutes hours days years week episode moments
compilation reaction update live special behind scenes try not happened goes wrong right inside without against between
"""

_MODIFIERS = """
tips daily easy best love life vlog tutorial challenge time fun pro world club lover ideas hacks day art style mania
zone guide show fan diary basics master tricks today lab talk story moments goals school nation planet corner hub live
"""


def _parse(entry: str) -> tuple[str, Field]:
    name, words = entry.split(":")
    general, specific = words.split("|")
    return name, Field(tuple(general.split()), tuple(specific.split()))


def _distinct(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.split()))


FIELDS = dict(_parse(entry) for entry in _FIELDS.strip().replace("|\n", "|").splitlines())
SCENES = _distinct(_SCENES)
_CONTENT = {
    *SCENES,
    *(word for field in FIELDS.values() for word in (*field.general, *field.specific)),
}
# What titles are filled up with, most frequent first: everyday words, then words about anything, in
# no order.
BACKGROUND = _distinct(
    " ".join([_BACKGROUND, *sorted(_CONTENT, key=lambda word: crc32(word.encode()))])
)
MODIFIERS = _distinct(_MODIFIERS)
