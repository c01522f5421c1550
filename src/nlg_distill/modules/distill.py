"""A student that learns from a teacher."""

import time
from collections.abc import Sequence

import torch

from nlg_distill.data.batch import Batch, Example
from nlg_distill.losses.objective import Objective
from nlg_distill.modules.generation import GenerationModule, OptimizerFactory, ScheduleFactory
from nlg_distill.modules.student import StudentModule
from nlg_distill.targets.policy import TargetsPolicy, Writers
from nlg_distill.teachers.signal import TeacherSignal
from nlg_distill.teachers.source import TeacherSource


class DistillModule(GenerationModule):
    """Trains a student on the targets policy's text, towards the teacher's distribution.

    J = sum_k w_k * mean over target tokens t of loss_k(q(.|x, y_<t), p(.|x, y_<t), y_t)
    with terms k, q the student, p the teacher and y the text of the targets policy.
    """

    def __init__(
        self,
        student: StudentModule,
        teacher: TeacherSource | None,
        targets: TargetsPolicy,
        objective: Objective,
        *,
        optimizer: OptimizerFactory | None = None,
        schedule: ScheduleFactory | None = None,
    ) -> None:
        """Combines the four choices.

        Args:
            student: holds the model that is trained, and knows whether it writes for validation.
            teacher: the teacher source; None where no term of the objective asks for it.
            targets: whose text is trained on.
            objective: the terms of the loss.
            optimizer: makes an optimizer of the student's parameters.
            schedule: makes a learning-rate schedule of the optimizer.
        """
        super().__init__(
            student.model,
            student.special,
            objective,
            optimizer=optimizer,
            schedule=schedule,
            writes=student.writes,
        )
        objective.check_texts(targets.authors, targets.teacher_share)
        self.teacher = teacher
        self.writing_seconds = 0.0
        self.targets = targets

    def refuse_too_long(self, train: Sequence[Example], held_out: Sequence[Example]) -> None:
        super().refuse_too_long(train, held_out)
        if self.teacher is not None:
            self.teacher.refuse_too_long(train)

    def on_fit_start(self) -> None:
        if self.teacher is not None:
            self.teacher.to(self.device)

    def teacher_signal(self, batch: Batch) -> TeacherSignal:
        if self.teacher is None or not self.objective.needs_teacher:
            return TeacherSignal()
        return self.teacher(batch)

    @torch.no_grad()
    def training_batch(self, batch: Batch) -> Batch:
        begin = time.perf_counter()
        teacher = self.teacher.model if self.teacher is not None else None
        writers = Writers(student=self.model, teacher=teacher, special=self.special)
        self.model.train(not self.targets.online)
        try:
            return self.targets(batch, writers, self.progress)  # type: ignore[no-any-return]
        finally:
            self.model.train()
            self.writing_seconds += time.perf_counter() - begin

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        sums = self.trainer.strategy.reduce(self.validation_nll.clone(), reduce_op="sum")
        total, tokens = sums.tolist()  # of all ranks: the policies of all must stay the same
        self.targets.after_validation(total / tokens)
        share = self.targets.on_policy_share(self.progress)
        if share is not None:
            self.log("train/on_policy_share", share, sync_dist=True)
