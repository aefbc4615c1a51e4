"""Families about words and plain facts beyond dispute, and a little logic."""

from __future__ import annotations

from random import Random

from bestroute.demo.tasks.group import Group, pick

_CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo",
    "Russia": "Moscow", "China": "Beijing", "Greece": "Athens", "Portugal": "Lisbon", "Austria": "Vienna",
    "Norway": "Oslo", "Poland": "Warsaw", "Cuba": "Havana",
}  # fmt: skip
_RARER_CAPITALS = {
    "Mongolia": "Ulaanbaatar", "Kenya": "Nairobi", "Peru": "Lima", "Jamaica": "Kingston", "Ghana": "Accra",
    "Nepal": "Kathmandu", "Uruguay": "Montevideo", "Latvia": "Riga", "Senegal": "Dakar", "Jordan": "Amman",
    "Bulgaria": "Sofia", "Iceland": "Reykjavik",
}  # fmt: skip
_OPPOSITES = {
    "hot": "cold", "up": "down", "day": "night", "left": "right", "early": "late", "wet": "dry",
    "full": "empty", "win": "lose", "push": "pull", "north": "south", "true": "false",
}  # fmt: skip
_PLURALS = {
    "child": "children", "mouse": "mice", "foot": "feet", "tooth": "teeth", "goose": "geese", "man": "men",
    "woman": "women", "leaf": "leaves", "wolf": "wolves", "city": "cities", "box": "boxes", "knife": "knives",
}  # fmt: skip
_PASTS = {
    "go": "went", "eat": "ate", "run": "ran", "see": "saw", "buy": "bought", "teach": "taught", "write": "wrote",
    "swim": "swam", "think": "thought", "fly": "flew", "take": "took", "begin": "began",
}  # fmt: skip
_ELEMENTS = {
    "hydrogen": "H", "oxygen": "O", "carbon": "C", "gold": "Au", "silver": "Ag", "iron": "Fe", "sodium": "Na",
    "potassium": "K", "helium": "He", "nitrogen": "N", "copper": "Cu", "lead": "Pb",
}  # fmt: skip
_YOUNG = {
    "dog": "puppy", "cat": "kitten", "sheep": "lamb", "horse": "foal", "cow": "calf", "duck": "duckling",
    "kangaroo": "joey", "frog": "tadpole", "swan": "cygnet",
}  # fmt: skip
_SPANISH = {
    "house": "casa", "water": "agua", "dog": "perro", "cat": "gato", "book": "libro", "red": "rojo", "sun": "sol",
    "bread": "pan", "milk": "leche", "night": "noche", "friend": "amigo", "table": "mesa",
}  # fmt: skip
_GERMAN = {
    "house": "Haus", "water": "Wasser", "dog": "Hund", "cat": "Katze", "book": "Buch", "red": "rot",
    "bread": "Brot", "milk": "Milch", "night": "Nacht", "tree": "Baum", "hand": "Hand", "school": "Schule",
}  # fmt: skip
_CONTINENTS = {
    "Kenya": "Africa", "Japan": "Asia", "France": "Europe", "India": "Asia", "Nigeria": "Africa", "Poland": "Europe",
    "Vietnam": "Asia", "Sweden": "Europe", "Morocco": "Africa", "Thailand": "Asia", "Ghana": "Africa",
    "Italy": "Europe",
}  # fmt: skip
_KINDS = {
    "fruit": ("apple", "banana", "cherry", "mango", "pear"),
    "animal": ("lion", "horse", "rabbit", "monkey", "sheep"),
    "color": ("red", "blue", "green", "yellow", "purple"),
    "vehicle": ("car", "bus", "bicycle", "truck", "train"),
    "piece of furniture": ("chair", "table", "sofa", "bed", "desk"),
}


def _odd_one_out(random: Random) -> tuple[str, str]:
    kind, other = random.sample(sorted(_KINDS), 2)
    stranger = random.choice(_KINDS[other])
    words = [*random.sample(_KINDS[kind], 3), stranger]
    random.shuffle(words)
    return f"Three of these belong together. Which one does not: {', '.join(words)}?", stranger


def _logic(random: Random) -> tuple[str, str]:
    a, b = random.random() < 0.5, random.random() < 0.5
    operator = random.choice(("and", "or"))
    negated = random.random() < 0.5
    value = ((not a) if negated else a) and b if operator == "and" else ((not a) if negated else a) or b
    return f"What is the value of `{'not ' if negated else ''}{a} {operator} {b}` in Python?", str(value)


def _taller(random: Random) -> tuple[str, str]:
    one, two, three = random.sample(("Anna", "Ben", "Clara", "David", "Emma", "Felix"), 3)
    superlative, answer = random.choice((("tallest", one), ("shortest", three)))
    return f"{one} is taller than {two}. {two} is taller than {three}. Who is the {superlative}?", answer


FAMILIES: dict[str, list[Group]] = {
    "facts": [
        Group("capital-known", 1, "word", pick(_CAPITALS, "What is the capital of {key}?")),
        Group("capital-rarer", 2, "word", pick(_RARER_CAPITALS, "What is the capital of {key}?")),
        Group("continent", 1, "word", pick(_CONTINENTS, "On which continent is {key}?")),
        Group("element-symbol", 2, "text", pick(_ELEMENTS, "What is the chemical symbol of {key}?")),
        Group("young-animal", 2, "word", pick(_YOUNG, "What is a young {key} called?")),
    ],
    "vocabulary": [
        Group("opposite", 1, "word", pick(_OPPOSITES, "What is the opposite of '{key}'?")),
        Group("plural", 1, "word", pick(_PLURALS, "What is the plural of '{key}'?")),
        Group("past-tense", 1, "word", pick(_PASTS, "What is the simple past tense of the verb '{key}'?")),
        Group(
            "to-spanish",
            2,
            "word",
            pick(_SPANISH, "Translate the word '{key}' into Spanish, without an article."),
        ),
        Group(
            "to-german",
            2,
            "word",
            pick(_GERMAN, "Translate the word '{key}' into German, without an article."),
        ),
    ],
    "logic": [
        Group("odd-one-out", 2, "word", _odd_one_out),
        Group("boolean", 2, "word", _logic),
        Group("who-is-tallest", 2, "word", _taller),
    ],
}
