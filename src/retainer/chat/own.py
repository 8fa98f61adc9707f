"""What the chat agent offers itself: help, status, memory, reminders. Phrases like everybody else's."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from retainer.core.capabilities import Capability
from retainer.core.effects import EffectClass

AGENT = "chat"


class HelpArguments(BaseModel):
    """Help, perhaps about one thing."""

    model_config = ConfigDict(extra="forbid")
    topic: str = Field(default="", max_length=60, description="what help is wanted about")


class ForgetArguments(BaseModel):
    """What to forget."""

    model_config = ConfigDict(extra="forbid")
    what: str = Field(min_length=1, max_length=300, description="what to forget, in the person's words")


class NumberArguments(BaseModel):
    """A line of a list."""

    model_config = ConfigDict(extra="forbid")
    number: int = Field(ge=1, le=1_000_000_000, description="its number")


class SayArguments(BaseModel):
    """A sentence another agent wants to be said."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(min_length=1, max_length=4000, description="what to say")


def own_capabilities() -> tuple[Capability, ...]:
    """The chat agent's capabilities, in the order of ``help``."""
    return (
        Capability(
            name="chat.help",
            agent=AGENT,
            description="What you can say, with examples",
            parameters=HelpArguments,
            phrases=(
                "help [(with|about|on) {topic}]",
                "help {topic}",
                "what can (you|i) (do|say|ask) [here|for me|you]",
                "what (do|can) you (do|know|understand|offer)",
                "what else can (you|i) do",
                "[i] need help [(with|about) {topic}]",
                "help me [(with|about) {topic}]",
                "(show|list) [me] [the|your] commands",
                "how do i (use you|use this|start|begin|talk to you)",
                "what (is|are) (this|you)",
                "(commands|menu|start)",
                "how do[es] (this|it) work",
                "who are you",
            ),
            examples=("help", "help reminders"),
        ),
        Capability(
            name="chat.status",
            agent=AGENT,
            description="How everything stands: trading, account, model, phone",
            phrases=(
                "status [report]",
                "[what is|whats] [the|your] status",
                "(how is|hows) everything [going]",
                "are you (there|running|alive|awake|ok)",
                "is (everything|all) (ok|okay|fine|running|alright|working|good)",
                "(all|everything) (ok|okay|good|fine|well)",
                "are you (working|up|online|alive|awake|still there|still running|alright|listening|on)",
                "(how are things|hows it going|how is it going|hows everything|whats up|whats going on)",
                "you there",
                "(which|what) model (are you|do you use|is this|is running)",
            ),
            examples=("status",),
        ),
        Capability(
            name="chat.facts",
            agent=AGENT,
            description="What I know about you",
            phrases=(
                "what do you (know|remember) about me",
                "what have you (stored|saved|remembered) about me",
                "(my facts|memory|what you know about me)",
                "who am i",
                "do you (know|remember) (me|my name|who i am)",
                "what do you (have|know) on me",
                "(show|list) [me] [my|the] (facts|memory|memories)",
                "what did i (tell|ask) you to remember",
                "what (have|did) i (told|tell) you",
                "(what is|whats) my name",
            ),
            examples=("what do you know about me",),
        ),
        Capability(
            name="chat.forget",
            agent=AGENT,
            description="Erase something you told me, for good",
            parameters=ForgetArguments,
            effect_class=EffectClass.WRITE_OWN,
            phrases=("forget {what}", "erase {what} from your memory", "delete {what} from your memory"),
            examples=("forget 3", "forget everything about Oslo"),
        ),
        Capability(
            name="chat.export",
            agent=AGENT,
            description="Your data as a file",
            phrases=("export [(my data|my memory|everything)]", "download my data", "give me my data"),
            examples=("export my data",),
        ),
        Capability(
            name="chat.reminders",
            agent=AGENT,
            description="The reminders that are set here",
            phrases=(
                "[(what|which)] reminders [(are set|do i have|are there|have i set)]",
                "do i have [any] reminders [set]",
                "what (did i ask you to remind me of|should i remember today|do you have to remind me of)",
                "any reminders",
                "when will you remind me",
                "(list|show) [me] [(my|all|the)] reminders",
                "my reminders",
            ),
            examples=("remind me at 9 to call Anna", "what reminders do I have"),
        ),
        Capability(
            name="chat.unremind",
            agent=AGENT,
            description="Cancel a reminder",
            parameters=NumberArguments,
            effect_class=EffectClass.WRITE_OWN,
            phrases=("(cancel|remove|delete|drop|clear) [the|my] reminder [number|nr] {number}",),
            examples=("cancel reminder 1",),
        ),
        Capability(
            name="chat.explain",
            agent=AGENT,
            description="Everything recorded about one event",
            parameters=NumberArguments,
            phrases=("explain [event] {number}",),
            examples=("explain 12",),
        ),
        Capability(
            name="chat.log",
            agent=AGENT,
            description="What happened lately",
            phrases=(
                "log",
                "show [me] the log",
                "what happened [lately|recently]",
                "(show|list) [me] [the] [last] events",
            ),
            examples=("log",),
        ),
        Capability(
            name="chat.people",
            agent=AGENT,
            description="Who may talk to me, and from which device",
            scope="admin",
            phrases=(
                "who (can|may) (talk|write|speak|text) (to|with) you",
                "who (can|may) (use|control|text|message|command) (you|this|the bot)",
                "who (else) (is there|can see this|uses you|talks to you|has access)",
                "who has access [to (you|this|my account)]",
                "(show|list) [me] [the] (people|devices|paired devices|users)",
                "(which|what) (devices|phones|people) (are paired|are connected|have access)",
                "(people|devices)",
                "can (strangers|other people|anyone|anybody|others|someone else) "
                "(talk to you|write to you|control you|use you|text you)",
            ),
            examples=("Who can talk to you?",),
        ),
        Capability(
            name="chat.time",
            agent=AGENT,
            description="What time it is here",
            phrases=(
                "what time is it [now|there]",
                "(whats|what is) the (time|date) [today|now]",
                "what day is it [today]",
                "(whats|what is) todays date",
            ),
            examples=("What time is it?",),
        ),
    )


def offered() -> tuple[Capability, ...]:
    """What other agents may request of the chat agent."""
    return (
        Capability(
            name="chat.say",
            agent=AGENT,
            description="Say a sentence in the conversation the request came from",
            parameters=SayArguments,
            effect_class=EffectClass.COMMUNICATE,
            sinks=("text",),
        ),
    )
