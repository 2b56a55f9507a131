"""What every keeper of claims must do, files or a server."""

from limbeck.tuning.claims import Claims


def check_held_by_one(one: Claims, other: Claims, elsewhere: Claims) -> None:
    """Two claimants of one search, and one of another: a claim is held by one and looked at by all."""
    with one.claimed("0001") as mine:
        assert mine
        for claims in (one, other):  # the holder too is told that it is taken
            for _ in range(3):
                with claims.claimed("0001") as free:
                    assert not free
        with other.claimed("0002") as free, elsewhere.claimed("0001") as another:
            assert free
            assert another
    with other.claimed("0001") as mine:
        assert mine
