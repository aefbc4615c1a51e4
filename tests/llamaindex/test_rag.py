"""Requirement 31, and RAG: query and chat engines; the question decides, the size of its context counts."""

import json

import pytest
from llama_index.core import Document, MockEmbedding, PromptTemplate, Settings, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.prompts import ChatPromptTemplate, chat_prompts, default_prompts
from llama_index.core.response_synthesizers import get_response_synthesizer
from pydantic import BaseModel

from bestroute import QualityPolicy
from bestroute.testing import FakeRouter
from llamaindex_bestroute.rag_query import RagQuestion, filled_in, read_back

MODES = ["compact", "refine", "tree_summarize", "simple_summarize", "accumulate"]
DOCS = ["Mars is the red planet.", "Venus is bright."]


def index(*texts):
    documents = [Document(text=text) for text in texts or DOCS]
    return VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=8))


class Seen:
    """A router function that keeps the queries it decides on."""

    def __init__(self, model="small", n=1):
        self.queries, self.candidate = [], (model, n)

    def __call__(self, query):
        self.queries.append(query)
        return self.candidate


class TestQueryEngines:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("n", [1, 2])
    async def test_five_response_modes_sync_and_async(self, make, server, mode, n):
        engine = index().as_query_engine(llm=make(("small", n)), response_mode=mode, similarity_top_k=2)
        best = {"query": "q=0.95", "aquery": "q=0.70"}  # the better of the first two draws, and of the next two
        for way, response in (("query", engine.query("What is red?")), ("aquery", await engine.aquery("What is red?"))):
            assert "[small-mini#" in str(response)
            assert len(response.source_nodes) == 2
            if n == 2 and mode not in ("accumulate", "refine"):
                assert best[way] in str(response)
        assert "Mars" in json.dumps(server.sent())

    @pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize"])
    @pytest.mark.parametrize("n", [1, 2])
    async def test_streaming(self, make, mode, n):
        engine = index().as_query_engine(llm=make(("small", n)), response_mode=mode, streaming=True)
        pieces = list(engine.query("What is red?").response_gen)
        assert "".join(pieces).count("[small-mini#") == 1
        assert len([p for p in pieces if p]) > 3 if n == 1 else "q=0.95" in "".join(pieces)
        asked = await engine.aquery("What is red?")
        pieces = [p async for p in asked.async_response_gen()]
        assert "".join(pieces).count("[small-mini#") == 1

    def test_settings_llm_is_used(self, make):
        Settings.llm = make()
        assert "[small-mini#" in str(index().as_query_engine().query("What is red?"))


CHAT_MODES = ["simple", "context", "condense_question", "condense_plus_context"]


class TestChatEngines:
    @pytest.mark.parametrize("mode", CHAT_MODES)
    @pytest.mark.parametrize("n", [1, 2])
    async def test_four_engines_in_four_ways(self, make, mode, n):
        def engine():
            llm = make(("small", n))
            return (
                SimpleChatEngine.from_defaults(llm=llm) if mode == "simple" else index().as_chat_engine(mode, llm=llm)
            )

        chat = engine()
        for _ in range(2):  # the second turn has a history
            response = chat.chat("What is red?")
            assert "[small-mini#" in str(response)
        assert "[small-mini#" in str(await chat.achat("And what is bright?"))
        stream = engine().stream_chat("What is red?")
        assert "".join(stream.response_gen).count("[small-mini#") == 1
        stream = await engine().astream_chat("What is red?")
        assert "".join([t async for t in stream.async_response_gen()]).count("[small-mini#") == 1


class Planet(BaseModel):
    """A planet."""

    name: str


GERMAN = ChatPromptTemplate(
    [
        ChatMessage(role="system", content="Antworte knapp."),
        ChatMessage(role="user", content="Frage: {query_str} (Quellen folgen)\n{context_str}"),
    ]
)


class TestQuestionAndContext:
    """The question reaches the router as ``Query.text``, what was retrieved as ``Query.context``."""

    @pytest.mark.parametrize("mode", MODES)
    def test_in_every_response_mode(self, make, mode):
        seen = Seen()
        index().as_query_engine(llm=make(seen), response_mode=mode, similarity_top_k=2).query("What is red?")
        assert {q.text for q in seen.queries} == {"What is red?"}
        assert any("Mars is the red planet." in q.context for q in seen.queries)
        assert not any("planet" in q.system for q in seen.queries)

    @pytest.mark.parametrize("template", [GERMAN, PromptTemplate("{context_str} ??? {query_str}")])
    @pytest.mark.parametrize("streaming", [False, True])
    async def test_in_a_template_of_any_wording_and_language(self, make, template, streaming):
        seen = Seen()
        engine = index().as_query_engine(llm=make(seen), text_qa_template=template, streaming=streaming)
        str(engine.query("Was ist rot?"))
        assert seen.queries[-1].text == "Was ist rot?"
        assert "Mars" in seen.queries[-1].context
        response = await engine.aquery("Was ist rot?")
        str(await response.get_response() if streaming else response)
        assert seen.queries[-1].text == "Was ist rot?"

    def test_where_the_template_calls_its_parts_something_else(self, make):
        seen = Seen()
        names = {"context_str": "quellen", "query_str": "frage"}
        template = PromptTemplate("{quellen} // {frage}", template_var_mappings=names)
        index().as_query_engine(llm=make(seen), text_qa_template=template).query("Was ist rot?")
        assert seen.queries[-1].text == "Was ist rot?"
        assert "Mars" in seen.queries[-1].context

    @pytest.mark.parametrize("mode", ["context", "condense_question", "condense_plus_context"])
    def test_in_chat_engines(self, make, mode):
        seen = Seen()
        chat = index().as_chat_engine(mode, llm=make(seen), similarity_top_k=2)
        chat.chat("What is red?")
        assert [q.text for q in seen.queries] == ["What is red?"]
        assert "Mars is the red planet." in seen.queries[-1].context
        assert "Mars" not in seen.queries[-1].system
        chat.chat("And bright?")
        assert seen.queries[1].text == "And bright?", "the condensing prompt asks the follow-up"
        assert "Venus is bright." in seen.queries[-1].context

    async def test_in_structured_output(self, make, user):
        seen = Seen()
        llm = make(seen)
        engine = index().as_query_engine(llm=llm, output_cls=Planet, response_mode="tree_summarize")
        engine.query("What is 'red'?")
        await engine.aquery("What is 'red'?")
        structured = index().as_query_engine(llm=llm.as_structured_llm(Planet))  # hands on what is filled already
        structured.query("What is 'red'?")
        list(llm.stream_structured_predict(Planet, GERMAN, query_str="What is 'red'?", context_str="Mars"))
        assert {q.text for q in seen.queries} == {"What is 'red'?"}
        assert all("Mars" in q.context for q in seen.queries)

    def test_in_completions(self, make, like):
        seen = Seen()
        llm = make(seen, models={"small": like("small-text", is_chat_model=False)})
        index().as_query_engine(llm=llm).query("What is red?")
        assert seen.queries[-1].text == "What is red?"
        assert "Mars" in seen.queries[-1].context

    def test_in_a_prompt_that_someone_else_filled(self, make, user):
        seen = Seen()
        llm = make(seen)
        llm.complete(default_prompts.DEFAULT_TEXT_QA_PROMPT.format(context_str="Mars", query_str="What is red?"))
        llm.complete("Voici :\n=====\nMars est rouge.\n=====\nQuelle est la rouge ?")
        llm.chat(user("<context>Mars</context>\nWhat is red?"))
        assert [q.text for q in seen.queries] == ["What is red?", "Voici :\nQuelle est la rouge ?", "What is red?"]
        assert [q.context for q in seen.queries] == ["Mars", "Mars est rouge.", "Mars"]

    def test_a_plain_chat_has_no_context_and_keeps_its_words(self, make, user):
        seen = Seen()
        llm = make(seen)
        messages = [ChatMessage(role="system", content="Be brief."), *user("  Tell me of Mars\n--\nand Venus ")]
        llm.chat(messages)
        query = seen.queries[-1]
        assert (query.text, query.context, query.system) == ("  Tell me of Mars\n--\nand Venus ", "", "Be brief.")
        assert query.messages is messages

    def test_a_react_agents_notes_are_not_the_question(self, make):
        seen = Seen()
        notes = [
            ChatMessage(role="user", content="What is 2 + 3?"),
            ChatMessage(role="assistant", content="Thought: I need a tool.\nAction: add"),
            ChatMessage(role="user", content="Observation: 5"),
        ]
        make(seen).chat(notes)
        assert seen.queries[-1].text == "What is 2 + 3?"

    def test_the_whole_prompt_counts(self, make, server, user):
        seen = Seen()
        make(seen).chat([ChatMessage(role="system", content="a " * 400), *user("b " * 400)])
        assert seen.queries[-1].input_tokens == 800 == server.usage["input"]


TEMPLATES = [
    default_prompts.DEFAULT_TEXT_QA_PROMPT,
    default_prompts.DEFAULT_REFINE_PROMPT,
    default_prompts.DEFAULT_TREE_SUMMARIZE_PROMPT,
    default_prompts.DEFAULT_CHOICE_SELECT_PROMPT,
    chat_prompts.CHAT_TEXT_QA_PROMPT,
    chat_prompts.CHAT_TREE_SUMMARIZE_PROMPT,
    chat_prompts.CHAT_REFINE_PROMPT,
]


class TestReadingBack:
    @pytest.mark.parametrize("template", TEMPLATES)
    def test_stock_templates_are_read_back_whatever_they_were_filled_with(self, template):
        material = "One.\n---------------------\nQuery: no\nAnswer: no\n"
        values = {
            "context_str": material,
            "context_msg": material,
            "query_str": "What, then?",
            "existing_answer": "Yes.",
        }
        text = template.format_messages(**values)[-1].content
        asked = read_back(text)
        assert asked.question == "What, then?"
        assert material.strip() in asked.context

    def test_a_template_without_a_question_asks_by_its_own_words(self):
        text = default_prompts.DEFAULT_SUMMARY_PROMPT.format(context_str="Mars is red.")
        asked = read_back(text)
        assert asked.context == "Mars is red."
        assert asked.question.startswith("Write a summary")
        assert "Mars" not in asked.question

    @pytest.mark.parametrize(
        ("template", "values", "expected"),
        [
            ("{query_str}", {"query_str": "q"}, None),
            ("translate {text}", {"text": "q"}, None),
            ("{text} {question}", {"text": "t", "question": "q"}, RagQuestion("q", "t")),
            ("{context_str}", {"context_str": "c"}, RagQuestion("", "c")),
            ("{context_str} {query_str}", {"context_str": "", "query_str": "q"}, None),
            ("{a} {b}", {"a": 1, "b": 2}, None),
        ],
    )
    def test_what_a_template_is_filled_with(self, template, values, expected):
        assert filled_in(PromptTemplate(template), values) == expected

    def test_a_long_text_is_read_at_once(self):
        text = "Context information is below.\n" + "word " * 200_000
        assert read_back(text).question == text


class SpyRouter(FakeRouter):
    """Predicts the same for every query, and keeps it."""

    def predict(self, queries):
        self.seen = [*getattr(self, "seen", ()), *queries]
        return super().predict(queries)


class TestLongPromptsChangeTheDecision:
    """Best of 5 pays on a short prompt; on one of 2,000 tokens, billed five times, it does not."""

    @pytest.fixture
    def decide(self, make, told):
        def ask(text, **options):
            plans = {("small", 1): (0.7, 0.60), ("small", 5): (0.9, 0.80), ("large", 1): (1.0, 0.85)}
            router = SpyRouter(plans, output_tokens=[100, 100])
            llm = make(router=router, policy=QualityPolicy(price_usd=0.02), **options)
            retrieved = index(text).as_retriever(similarity_top_k=8).retrieve("What is red?")
            synthesizer = get_response_synthesizer(llm=llm, response_mode="simple_summarize")
            synthesizer.synthesize("What is red?", nodes=retrieved)
            (query,) = router.seen
            return query, llm.engine.route(query), llm.ledger.rows()

        return ask

    def test_best_of_n_is_chosen_for_the_question_alone(self, decide):
        query, decision, rows = decide("Mars is the red planet.")
        assert query.text == "What is red?"
        assert query.prompt_tokens < 250
        assert str(decision.plan) == "small x 5"
        assert len(rows) == 5

    def test_and_no_longer_with_2000_tokens_of_context(self, decide, server):
        query, decision, rows = decide("Mars is the red planet. " * 280)
        assert query.text == "What is red?"
        assert query.context.startswith("Mars is the red planet.")
        assert 1900 < query.prompt_tokens < 2300
        assert query.prompt_tokens == decision.input_tokens
        assert str(decision.plan) == "small x 1"
        assert len(rows) == 1
        assert rows[0]["input_tokens"] == server.usage["input"] > 1500
        best = next(p for p in decision.to_dict()["plans"] if p["plan"][0]["n"] == 5)
        assert best["estimated_cost_usd"] == pytest.approx((5 * query.prompt_tokens * 1.0 + 5 * 100 * 2.0) / 1e6)

    def test_where_the_prompt_is_billed_once_it_still_pays(self, decide):
        _, decision, _ = decide("Mars is the red planet. " * 280, bills_input="once")
        assert str(decision.plan) == "small x 5"
