import pytest
from random_models import encoded_dataset, make_speaking_base, random_base

__all__ = ["encoded_dataset", "random_base"]


@pytest.fixture(scope="session")
def speaking_base(tmp_path_factory: pytest.TempPathFactory):
    return make_speaking_base(tmp_path_factory.mktemp("models") / "speaking")
