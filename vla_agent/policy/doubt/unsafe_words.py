"""The English words by which an instruction is judged unsafe: plain lists, which no training changes.

A verb may stand in several lists; `unsafe` says what each list means.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# -- verbs, in their base form
HARM = words(  # hurts whom it is done to
    "hurt harm injure wound maim kill murder assassinate execute slay attack assault strangle choke throttle"
    " suffocate smother stab bruise threaten menace frighten scare terrify terrorise terrorize intimidate scald"
    " poison electrocute punish torture torment bully molest abuse drown behead decapitate amputate cripple"
    " mutilate slaughter rough concuss blind bite headbutt brain belt nail fight gas hang skin starve tase whip"
    " flog lynch spank startle bludgeon"
)
STRIKE = words("hit strike slap smack poke jab tap prick pinch nip scratch knock thump punch clip graze rap")
VIOLENT = words(  # too much for things, other than buttons and drawers
    "whack bash batter beat kick hammer pound pummel wallop clobber clout bonk thrash club cudgel slug sock"
    " thwack swat punch smack thump belt headbutt stomp stamp trample pelt bombard ram boot lash whip pulverise"
    " pulverize bludgeon"
)
BREAK = words(
    "smash crush break shatter destroy wreck crack ruin damage demolish tear rip bend burn melt squash squish"
    " mash dent pulverise pulverize scratch splinter flatten trash wrench pry prise snap slice stab puncture burst"
    " vandalise vandalize explode detonate obliterate annihilate disfigure deface mangle shred drill gouge carve"
    " engrave chip ignite incinerate scorch singe char fracture rupture crumple crunch pierce saw chop hack"
    " sabotage overload overheat dismantle total bust mutilate cut impale grind deform warp maul trample stomp"
    " rend cripple pound decimate annihilate fry scuff"
)
THROW = words("throw fling hurl toss chuck lob sling launch catapult pitch shoot fire yeet heave hoy bowl flick cast")
PUSH = words(
    "push shove slide roll knock sweep swipe brush kick nudge bump tip drop send dump drag wipe swat bat ditch"
)
PUSH |= words("let boot shunt topple scatter spill bundle scoot hoof discard pitch elbow jostle barge dash bulldoze")
FALL = words("fall drop roll slide crash tumble plunge plummet topple land smash slip")
SLAM = words(
    "slam bang smash bash crash swing ram drive run jam thump whack smack clatter thrust beat crunch dash pound"
)
PULL = words("pull yank tug twist drag bend snap wrench tweak jerk wring tear rip")
PRESS = words("press stick force dig stub hold squeeze clamp close shut lower sink plunge push aim point stamp")
SPILL = words("pour spill splash sprinkle squirt spray dribble tip slosh empty douse drench")
GRAB = words("grab grip grasp seize catch hold take pin lift pull drag clamp squeeze crush close clench wrap")
PUT = words(
    "put place set lay shove stick pop feed insert ram stuff cram jam drop leave stand force move bring give go"
)
PUT |= words(
    "belong end want see have use get juggle flip overturn upend capsize turn blow collide make cause do inflict"
)
PUT |= words("trip split light switch cover separate teach dunk submerge immerse open fill hand pass keep need like")
LIFT = words("pick take lift grab fetch collect retrieve remove clear raise gather rescue find look reach clean tidy")
SQUEEZE = words("squeeze pinch clamp trap jam grip nip press")
TOPPLE = words("topple overturn upend capsize")

HURTS_PATIENT = HARM | STRIKE | VIOLENT | BREAK | SQUEEZE | PULL | TOPPLE | words(
    "throw fling hurl toss chuck sling shoot push shove knock drop slam trip bump pin elbow jostle barge crash"
    " hoof"
)  # fmt: skip
HURTS_NEAR = (
    HARM | STRIKE | VIOLENT | BREAK | THROW | PUSH | FALL | SLAM | PRESS | SPILL | SQUEEZE | words("trip let wrap go")
)

TOOLS = words(  # nouns more often than verbs
    "hammer bat belt nail saw drill sock chip clip cast club whip slug brain hack boot mug box bowl light gas"
    " skin mash brush stamp cover pitch rib gun iron file plane axe cube pop star block total warp clout pepper"
    " fly switch plug cap"
)


def _forms(verb: str) -> list[str]:
    stem = verb[:-1] if verb.endswith("e") and not verb.endswith(("ee", "oe")) else verb
    short = len(verb) > 2 and verb[-1] not in "aeiouwxy" and verb[-2] in "aeiou" and verb[-3] not in "aeiou"
    doubled = [verb + verb[-1] + "ing"] if short else []
    return [verb, verb + "s", verb + "es", stem + "ing", *doubled]


_ALL = HURTS_PATIENT | HURTS_NEAR | GRAB | PUT | LIFT
VERBS = {form: verb for verb in sorted(_ALL) for form in _forms(verb)}  # every form -> base form

# -- whom it hurts
BEINGS = words(
    "me us him her them someone somebody anyone anybody everyone everybody myself himself herself whoever person"
    " people human man men woman women child children kid boy girl baby infant toddler worker colleague coworker"
    " guest neighbour neighbor friend bystander passer dog cat pet animal guy bloke lad lass chap dude fellow lady"
    " gentleman gentlemen boss intern student pupil nurse guard brother sister mother father mum mom dad mummy"
    " daddy grandma grandpa granny grandad son daughter uncle aunt cousin wife husband partner flatmate roommate"
    " housemate classmate teammate mate crowd audience staff crew team family public chef cook clerk thief police"
    " policeman cop soldier enemy opponent patient civilian pedestrian spectator crybaby teenager adult pensioner"
    " idiot moron jerk puppy kitten bird pigeon parrot hamster mouse mice rat rabbit bunny spider beetle bug"
    " insect fly ant wasp bee fish goldfish horse cow pig sheep chicken duck snail frog turtle tortoise snake"
    " lizard squirrel hedgehog butterfly creature beast tenant accountant assistant attendant servant client"
    " president scientist engineer mechanic lot thing's folks folk gang everyone's host hostess waitress actress"
    " princess bro sis twin peer tourist secretary"
)
TOYS = words("toy rubber plush plastic stuffed wooden ceramic figurine lego")  # of a duck: no animal
AGENT_ENDS = ("er", "or", "ist", "ian", "eer", "man", "woman", "mate", "ee", "bor")
NO_AGENTS = words(
    "drawer cylinder tower counter corner container computer monitor gripper finger paper water power order"
    " center lever sensor motor mirror door floor holder folder printer heater cooker cover number letter ladder"
    " beaker toaster other another either former latter beer butter pepper sugar flower leather feather hammer"
    " screwdriver speaker router charger adapter connector tester marker poster roller spinner stapler ruler"
    " eraser rubber sticker banner border colour color error mixer boiler freezer blender trigger buzzer timer"
    " starter trailer shutter filter meter coaster saucer platter tumbler pitcher silver copper timber lumber"
    " shoulder layer buffer locker chamber knee coffee toffee tree committee fee three free wee air chair river"
    " winter summer weather centre laser scanner projector reactor radiator conductor indicator elevator"
    " calculator generator ventilator refrigerator sweater cucumber burger ginger folder diaper wrapper slipper"
    " zipper cracker plier pliers scissor scissors manipulator robot effector actuator bumper cracker lighter"
    " fastener opener dispenser strainer shaker wafer tiger paster anchor tractor scooter helicopter"
)
BODY = words(
    "head face hand foot feet finger thumb toe arm leg knee eye eyeball ear nose mouth neck throat windpipe chest"
    " belly stomach tummy shoulder skin elbow wrist ankle shin back chin cheek jaw teeth tooth tongue lip forehead"
    " skull rib ribs spine hip bum bottom butt backside groin crotch balls nuts hair tail paw snout lap palm bone"
    " bones knuckle knuckles thigh heel temple gut guts body brain brains nostril beak wing fingertip fingertips"
    " brow lap privates"
)
HANDS = words("hand palm lap arm")  # where things are handed
DELICATE = words("mouth eye eyeball throat windpipe nose nostril ear")
HOLDS = words("throat neck hair tail ear leash collar scruff")

# -- what breaks, and where
ABSTRACT = words(
    "glance look mess time clock problem task job silence ice bullet habit record news chase corner rule tie off"
    " what light power noise engine lights deadlock fast even line odds rush traffic heat pace towel party smile"
    " question fit tantrum word shade through across to stack pile price cost cord cake path way loose free short"
    " down over tab"
)
PRESSED = words("button drawer switch key bell buzzer buttons knob nail nails peg pegs")  # made to be hit, or slammed
CONSUMED = words(  # made to be broken, cut or melted
    "egg eggs nut nuts potato potatoes carrot carrots onion tomato bread cake cheese butter paper tape rope"
    " string seal garlic ginger lettuce cucumber vegetables fruit meat pizza sandwich chocolate herbs sausage"
    " mushroom code candy"
)
SOLID = words(
    "yourself wall camera cabinet robot screen window lamp laptop floor monitor glass mirror tv phone ceiling tripod"
)
DOWN = words("floor ground carpet tiles rug lino concrete floorboards pavement deck")
EDGES = words("table edge desk bench counter worktop tabletop side ledge shelf workbench surface brink end")
ROOMS = words("room lab table kitchen hall office workshop laboratory house garage garden street")
FIRES = words(
    "fire flame bonfire furnace fireplace incinerator shredder blaze candle lava grinder blender campfire inferno"
)
WET = words("water sink bucket toilet pool bath bathtub tub aquarium pond river puddle coffee")
ELECTRIC = words(
    "phone camera laptop robot gripper yourself keyboard computer tablet charger battery monitor cable arm"
)
ELECTRIC |= words("socket plug outlet electronics motor")
POISONS = words("poison acid bleach venom toxic poisonous arsenic cyanide petrol gasoline")
ROBOT_PARTS = words("arm gripper yourself hand wrist elbow finger fingers joint end effector body claw manipulator")
PARTS = words("handle button camera label lid door leg wire cable knob hinge cap sensor wheel screw plug rail rails")
SUFFER = words("cry scream bleed suffer yelp squeal swallow choke faint die limp howl sob flinch vomit")
TUMBLE = words("fall jump trip drop stumble")  # of someone
