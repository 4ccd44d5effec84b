package contract

import "time"

// Submission is what whoever asks sends along with what is asked for.
type Submission struct {
	// AnswerBy is the instant, by the database's clock, until which it may be accepted: behind it whoever asked is told that it
	// was not. Zero, as from older versions, is no limit.
	AnswerBy time.Time `json:"answer_by,omitzero"`
}

// Extend has the submission wait as long as another that asks for the same.
func (s *Submission) Extend(other Submission) {
	if other.AnswerBy.IsZero() || !s.AnswerBy.IsZero() && other.AnswerBy.After(s.AnswerBy) {
		s.AnswerBy = other.AnswerBy
	}
}
