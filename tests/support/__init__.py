"""What the tests stand on: real servers, a proxy that cuts answers, processes, a ledger."""
