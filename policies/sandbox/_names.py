"""The names in code."""

import ast

__all__ = ["bound_names"]


def bound_names(tree: ast.AST) -> set[str]:
    r"""Return the names that code binds itself, in whatever scope.

    What a test uses besides them, and besides the built-in names, it takes from the program.

    Example:
        >>> sorted(bound_names(ast.parse("import os.path as p\nfor x in y: f(x)")))
        ['p', 'x']
    """
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names
