import pytest

from kintune.search import ENGINES
from kintune.testing import EngineSuite


class TestEngines(EngineSuite):
    @pytest.fixture(params=list(ENGINES))
    def engine(self, request):
        return ENGINES[request.param]
