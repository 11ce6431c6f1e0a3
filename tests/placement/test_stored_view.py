"""The view's contract on the real store."""

import pytest

from storage.cluster_state import MongoViewStore
from tests.conftest import OpenDatabase
from tests.placement.contract_view_store import ViewStoreContract

pytestmark = pytest.mark.storage


class TestMongoViewStore(ViewStoreContract):
    @pytest.fixture
    async def store(self, open_database: OpenDatabase) -> MongoViewStore:
        return MongoViewStore(await open_database())
