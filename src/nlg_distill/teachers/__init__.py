"""Teacher sources: all give one `TeacherSignal`."""

from nlg_distill.teachers.live import LiveTeacher
from nlg_distill.teachers.signal import TeacherSignal
from nlg_distill.teachers.source import TeacherSource

__all__ = ["LiveTeacher", "TeacherSignal", "TeacherSource"]
