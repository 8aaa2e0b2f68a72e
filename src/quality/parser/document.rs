//! The sections of a document around its rules, and labels (dqdl.md §1.1, §1.2).

use super::{Parsed, Parser, RESERVED};
use crate::quality::lexer::Token;
use crate::quality::syntax::*;

impl Parser {
    pub(super) fn document(&mut self) -> Parsed<()> {
        if self.take_word(&["Metadata"]) {
            self.need_sign("=")?;
            self.metadata()?;
        }
        if self.take_word(&["DataSources"]) {
            self.need_sign("=")?;
            self.data_sources()?;
        }
        while matches!(self.peek(), Some(Token::Word(w)) if !["DefaultLabels", "Rules", "Analyzers", "Metadata", "DataSources"].contains(&w.as_str()))
            && matches!(self.peek_at(1), Some(Token::Sign("=")))
        {
            self.variable()?;
        }
        if self.take_word(&["DefaultLabels"]) {
            self.need_sign("=")?;
            self.ruleset.default_labels = self.label_list()?;
        }
        let mut sections = 0;
        let mut rules_were_empty = None;
        if self.is_word("Rules") {
            let place = self.place();
            self.advance();
            self.need_sign("=")?;
            sections += 1;
            let clean = self.faults.len();
            self.ruleset.rules = self.items(Self::ruled)?;
            if self.ruleset.rules.is_empty() && self.faults.len() == clean {
                rules_were_empty = Some(place);
            }
        }
        if self.take_word(&["Analyzers"]) {
            self.need_sign("=")?;
            sections += 1;
            self.ruleset.analyzers = self.items(Self::analyzer)?;
        }
        if sections == 0 {
            return self.expected("`Rules = [` or `Analyzers = [` (sections stand in the order Metadata, DataSources, variables, DefaultLabels, Rules, Analyzers)");
        }
        if self.ruleset.rules.is_empty() && self.ruleset.analyzers.is_empty() && self.faults.is_empty() {
            let place = rules_were_empty.unwrap_or(self.end);
            return Err(self.note(place, "the document has neither a rule nor an analyzer"));
        }
        if let Some(token) = self.peek() {
            let message = format!("nothing may follow the document, found {}", token.shown());
            let place = self.place();
            return Err(self.note(place, message));
        }
        Ok(())
    }

    fn metadata(&mut self) -> Parsed<()> {
        self.need_sign("{")?;
        while !self.take_sign("}") {
            let place = self.place();
            let key = self.key()?;
            self.need_sign(":")?;
            let value = self.quoted("a quoted version")?;
            if key != "Version" {
                self.note(place, format!("Metadata has no key {key:?}, only \"Version\""));
            } else if self.ruleset.version.replace(value).is_some() {
                self.note(place, "\"Version\" is given twice");
            }
            if !self.take_sign(",") && !self.is_sign("}") {
                return self.expected("`,` or `}`");
            }
        }
        Ok(())
    }

    fn data_sources(&mut self) -> Parsed<()> {
        self.need_sign("{")?;
        let mut sources = DataSources::default();
        while !self.take_sign("}") {
            let place = self.place();
            let key = self.key()?;
            self.need_sign(":")?;
            match key.as_str() {
                "Primary" => {
                    if sources.primary.replace(self.quoted("a quoted name")?).is_some() {
                        self.note(place, "\"Primary\" is given twice");
                    }
                }
                "AdditionalDataSources" => {
                    if !sources.additional.is_empty() {
                        self.note(place, "\"AdditionalDataSources\" is given twice");
                    }
                    sources.additional = self.quoted_list()?;
                }
                _ => {
                    return Err(self.note(place, format!("DataSources has no key {key:?}, only \"Primary\" and \"AdditionalDataSources\"")));
                }
            }
            if !self.take_sign(",") && !self.is_sign("}") {
                return self.expected("`,` or `}`");
            }
        }
        self.ruleset.sources = Some(sources);
        Ok(())
    }

    /// A key of Metadata or DataSources, quoted or not.
    fn key(&mut self) -> Parsed<String> {
        if let Some(Token::Word(word)) = self.peek() {
            let word = word.clone();
            self.advance();
            return Ok(word);
        }
        self.quoted("a key")
    }

    fn quoted_list(&mut self) -> Parsed<Vec<String>> {
        self.need_sign("[")?;
        let mut texts = vec![self.quoted("a quoted string")?];
        while self.take_sign(",") {
            texts.push(self.quoted("a quoted string (variables hold strings only)")?);
        }
        self.need_sign("]")?;
        Ok(texts)
    }

    fn variable(&mut self) -> Parsed<()> {
        let place = self.place();
        let Some(Token::Word(name)) = self.peek().cloned() else { return self.expected("a variable name") };
        self.advance();
        self.need_sign("=")?;
        if name.starts_with(['.', '_']) {
            self.note(place, format!("a variable name may not start with `{}`", &name[..1]));
        }
        if RESERVED.contains(&name.as_str()) {
            self.note(place, format!("`{name}` is a word of the language and cannot name a variable"));
        }
        if self.ruleset.variable(&name).is_some() {
            self.note(place, format!("variable `{name}` is defined twice"));
        }
        let value = match self.peek() {
            Some(Token::Sign("[")) => VariableValue::List(self.quoted_list()?),
            _ => VariableValue::Text(self.quoted("a quoted string or a list of them (variables hold nothing else)")?),
        };
        self.ruleset.variables.push(Variable { name, value });
        Ok(())
    }

    pub(super) fn labels(&mut self) -> Parsed<Vec<Label>> {
        self.advance();
        self.need_sign("=")?;
        let place = self.place();
        let labels = self.label_list()?;
        let total = labels.len() + self.ruleset.default_labels.len();
        if total > 10 {
            self.note(place, format!("default and own labels are {total}, at most 10 are allowed"));
        }
        Ok(labels)
    }

    fn label_list(&mut self) -> Parsed<Vec<Label>> {
        self.need_sign("[")?;
        let start = self.place();
        let mut labels: Vec<Label> = Vec::new();
        loop {
            let place = self.place();
            let key = self.quoted("a quoted label key")?;
            self.need_sign("=")?;
            let value = self.quoted("a quoted label value")?;
            for (what, text, max) in [("key", &key, 128), ("value", &value, 256)] {
                let len = text.chars().count();
                if len == 0 {
                    self.note(place, format!("a label {what} is empty"));
                } else if len > max {
                    self.note(place, format!("a label {what} has {len} characters, at most {max} are allowed"));
                }
            }
            if labels.iter().any(|l| l.key == key) {
                self.note(place, format!("label {key:?} is given twice"));
            }
            labels.push(Label { key, value, place });
            if !self.take_sign(",") {
                break;
            }
        }
        self.need_sign("]")?;
        if labels.len() > 10 {
            self.note(start, format!("{} labels, at most 10 are allowed", labels.len()));
        }
        Ok(labels)
    }
}
