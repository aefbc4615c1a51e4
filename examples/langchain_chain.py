"""A chain of prompt, model and parser: the model is swapped in one statement, the chain does not change."""

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from bestroute import MajorityVote, Price
from langchain_bestroute import BestRouteChat


def translate(model: BaseChatModel, text: str, language: str) -> str:
    """Translate a text."""
    prompt = ChatPromptTemplate.from_messages([("system", "Translate into {language}."), ("human", "{text}")])
    chain = prompt | model | StrOutputParser()
    return chain.invoke({"language": language, "text": text})


if __name__ == "__main__":
    # before: model = ChatOpenAI(model="gpt-4o")
    model = BestRouteChat(
        models={"small": "openai:gpt-4o-mini", "large": "openai:gpt-4o"},
        prices={"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)},
        router=lambda query: ("small", 3) if len(query.text) < 200 else ("large", 1),
        reward_model=MajorityVote(),
    )
    print(translate(model, "I love programming.", "French"))
    print(f"{model.ledger.cost_usd:.6f} USD")
