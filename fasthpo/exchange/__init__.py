"""Studies in other people's formats: JSON, CSV, Arrow and Parquet, and Optuna's studies, to them and back.

What stands here only reads a study, or makes the columns of a new one.
"""
