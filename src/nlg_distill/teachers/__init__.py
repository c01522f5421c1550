"""Teacher sources: all give one `TeacherSignal`.

Losses know the signal and not the sources, so nothing is imported ahead of time here.
"""
