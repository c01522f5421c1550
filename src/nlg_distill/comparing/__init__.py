"""Any finished runs beside each other: tables of them, and their Pareto fronts."""
