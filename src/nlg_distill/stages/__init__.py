"""What a run is made of: corpus, tokenizer, teacher, teacher text, student, scores."""
