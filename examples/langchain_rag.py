"""Retrieval: the prompt is long, so that a sample costs its input; the router sees how long it is."""

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import OpenAIEmbeddings

from bestroute import MajorityVote, Price
from langchain_bestroute import BestRouteChat

DOCUMENTS = [
    "The bridge over the Ouse was opened in 1892 and is 312 metres long.",
    "The lighthouse of Hale stands 24 metres high and was lit by oil until 1931.",
    "The canal from Hale to the Ouse has eleven locks; the deepest falls 4 metres.",
]


def ask(model: BaseChatModel, embeddings: Embeddings, question: str) -> str:
    """Answer a question from the documents."""
    store = InMemoryVectorStore(embeddings)
    store.add_documents([Document(text) for text in DOCUMENTS])
    retriever = store.as_retriever(search_kwargs={"k": 2}) | (lambda found: "\n".join(d.page_content for d in found))
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Answer from this context alone:\n{context}"), ("human", "{question}")]
    )
    chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()
    return chain.invoke(question)


if __name__ == "__main__":
    # before: model = ChatOpenAI(model="gpt-4o")
    model = BestRouteChat(
        models={"small": "openai:gpt-4o-mini", "large": "openai:gpt-4o"},
        prices={"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)},
        router=lambda query: ("small", 3) if query.prompt_tokens < 500 else ("large", 1),
        reward_model=MajorityVote(),
    )
    embeddings = OpenAIEmbeddings(check_embedding_ctx_length=False)
    print(ask(model, embeddings, "How long is the bridge over the Ouse?"))
    print(f"{model.ledger.cost_usd:.6f} USD")
