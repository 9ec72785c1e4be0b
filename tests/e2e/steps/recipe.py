"""Every command of the recipes does what they show."""

from pathlib import Path

from kit.check import check
from kit.context import Context
from kit.transcript import commands
from steps.readme import Reader

RECIPES = Path(__file__).resolve().parents[3] / "docs" / "recipes"


def run(context: Context) -> None:
    """Runs each recipe's commands in order, in a fresh folder, beside a fresh server whose data are in `./data`."""
    recipes = sorted(RECIPES.glob("*.md"))
    check(bool(recipes), f"{RECIPES} has no recipe")
    for recipe in recipes:
        found = commands(recipe.read_text())
        check(bool(found), f"{recipe} shows no command")
        server = context.server(name=recipe.stem).start()
        reader = Reader(context, server)
        for command in found:
            reader.take(command)
        reader.finish()
        server.stop()
        context.say(f"{recipe.name}: {len(found)} commands, {reader.compared} of them with the output shown")
