"""The shop: one package per service, each importing the others' stubs and never their code."""
