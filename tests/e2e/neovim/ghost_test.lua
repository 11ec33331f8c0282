-- Seeing, keeping and accepting ghost text.

local h = require('harness')

local all = { 'plugin', 'core', 'plugin_core' }
local ours = { 'plugin', 'plugin_core' }

local stack = [[
class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
]]

-- Puts the cursor at the end of the last line of the file, in insert mode.
local function at_end(e, keys)
  e:input('G$' .. (keys or 'A'))
  e:wait('insert mode', 'return vim.api.nvim_get_mode().mode == "i"')
end

-- Types the start of a line after the file's text and waits for what fimd says.
local function suggest(e, typed)
  at_end(e)
  e:type(typed)
  return h.ghost(e)
end

return {
  {
    name = 'what is shown is what the daemon said',
    with = all,
    files = { ['main.py'] = stack },
    run = function(e)
      local ghost = suggest(e, '        return self.')
      h.check(#ghost > 0, 'an empty ghost text')
      h.equal(e:text(), stack .. '        return self.', 'text')
    end,
  },
  {
    name = 'accept inserts exactly the suggestion',
    with = all,
    files = { ['main.py'] = stack },
    run = function(e)
      local ghost = suggest(e, '        return self.')
      local offer = h.offered(e)
      e:input('<Tab>')
      e:wait_text(stack .. '        return self.' .. ghost)
      h.check_journal(e, stack)
      local accepted = e:wait('the accept command', [[
        for _, request in ipairs(wire.requests) do
          if request.method == 'workspace/executeCommand' then
            return request.params
          end
        end]])
      h.equal(accepted.arguments, offer.item.command.arguments, 'command')
      local lines = e:lines()
      h.equal(e:lua('return vim.api.nvim_win_get_cursor(0)'), { #lines, #lines[#lines] }, 'cursor')
      -- Nothing of it may be drawn again, unless the daemon goes on from there.
      e:settle()
      if e:ghost() then
        h.ghost(e)
      end
    end,
  },
  {
    name = 'accept is an undo step of its own',
    with = { 'plugin' },
    files = { ['main.py'] = stack },
    run = function(e)
      local ghost = suggest(e, '        return self.')
      e:input('<Tab>')
      e:wait_text(stack .. '        return self.' .. ghost)
      e:type('  # done')
      e:wait_text(stack .. '        return self.' .. ghost .. '  # done')
      e:input('<Esc>u')
      e:wait_text(stack .. '        return self.' .. ghost)
      e:input('u')
      e:wait_text(stack .. '        return self.')
      e:input('u')
      e:wait_text(stack)
      e:input('3<C-r>')
      e:wait_text(stack .. '        return self.' .. ghost .. '  # done')
    end,
  },
  {
    name = 'accept a word, then a line, then the rest',
    with = { 'plugin' },
    files = { ['main.py'] = stack },
    run = function(e)
      local ghost = suggest(e, '        return self.')
      local before = stack .. '        return self.'
      local word = ghost:match('^%s*[%w_\128-\255]+') or ghost:match('^%s*[^%w%s_]+')
      e:input('<M-w>')
      e:wait_text(before .. word)
      if #word < #ghost then
        -- The rest stays on the screen, without asking.
        h.equal((e:ghost() or {}).text, ghost:sub(#word + 1), 'ghost text after the word')
        local accepted = e:wait('the partial acceptance', [[
          for _, message in ipairs(wire.notified) do
            if message.method == 'textDocument/didPartiallyAcceptCompletion' then
              return message.params.acceptedLength
            end
          end]])
        h.equal(accepted, vim.fn.strutf16len(word), 'acceptedLength')
        e:input('<M-e>')
        local line = ghost:match('^\n*[^\n]*')
        if #line <= #word then
          line = ghost:match('^' .. vim.pesc(line) .. '\n*[^\n]*')
        end
        e:wait_text(before .. line)
      end
      h.check_journal(e, stack)
      h.check(e:lua('return wire.count("textDocument/didShowCompletion")') > 0, 'no didShow')
    end,
  },
  {
    name = 'accept a word where Neovim draws',
    with = { 'plugin_core' },
    files = { ['main.py'] = stack },
    run = function(e)
      local ghost = suggest(e, '        return self.')
      local word = ghost:match('^%s*[%w_\128-\255]+') or ghost:match('^%s*[^%w%s_]+')
      e:input('<M-w>')
      e:wait_text(stack .. '        return self.' .. word)
    end,
  },
  {
    name = 'the ghost stays while typing through it',
    with = { 'plugin' },
    files = { ['main.py'] = stack },
    before = [[
      -- After the plugin's own autocommands: what is shown once each key was dealt with.
      vim.schedule(function()
        _G.seen = {}
        vim.api.nvim_create_autocmd('TextChangedI', {
          callback = function()
            local ghost = wire.ghost()
            table.insert(seen, ghost ~= vim.NIL and ghost.text or '')
          end,
        })
      end)]],
    run = function(e)
      local ghost = suggest(e, '        return self.')
      local through = ghost:sub(1, math.min(6, #ghost - 1)):match('^[%w%p ]*')
      h.check(#through > 2, 'too little to type through: ' .. ghost)
      e:lua('seen = {}')
      for i = 1, #through do
        e:type(through:sub(i, i))
        e:wait('the key', ('return #seen == %d'):format(i))
      end
      local expected = {}
      for i = 1, #through do
        expected[i] = ghost:sub(i + 1)
      end
      h.equal(e:lua('return seen'), expected, 'ghost text after each key')
      e:settle()
      h.check(vim.startswith(e:ghost().text, ghost:sub(#through + 1)), 'the suggestion changed')
      h.equal(e:text(), stack .. '        return self.' .. through, 'text')
      -- And back: the deleted character is ghost text again.
      e:input('<BS>')
      e:wait('the longer ghost', function()
        local now = e:ghost()
        return now and vim.startswith(now.text, ghost:sub(#through))
      end)
    end,
  },
  {
    name = 'typing something else hides it at once',
    with = { 'plugin' },
    files = { ['main.py'] = stack },
    before = [[
      vim.schedule(function()
        vim.api.nvim_create_autocmd('TextChangedI', {
          callback = function()
            _G.after_key = wire.ghost()
          end,
        })
      end)]],
    run = function(e)
      local ghost = suggest(e, '        return self.')
      e:lua('after_key = nil')
      e:type(ghost:sub(1, 1) == 'Q' and 'J' or 'Q')
      h.equal(e:wait('the key', 'return after_key ~= nil and { after_key }'), { vim.NIL }, 'after the key')
    end,
  },
  {
    name = 'several lines',
    with = all,
    files = {
      ['main.py'] = 'def fibonacci(n):\n    """Return the first n Fibonacci numbers as a list."""\n',
      ['other.py'] = 'def read_lines(path):\n    """Return the lines of a file."""\n',
    },
    run = function(e)
      -- How much the model says is its own affair: try until it is more than one line.
      local tries = {
        { 'main.py', '    ' },
        { 'main.py', '    numbers = [0, 1]\n' },
        { 'main.py', '    if n == 0:' },
        { 'other.py', '    with open(path) as file:' },
        { 'other.py', '    ' },
        { 'other.py', '    lines = []\n    for line in open(path):' },
      }
      for _, try in ipairs(tries) do
        e:input('<Esc>')
        e:lua('vim.cmd.edit({ ..., bang = true })', try[1])
        e:lua('vim.cmd("edit!"); journal = {}; wire.requests = {}; wire.partials = {}')
        at_end(e)
        e:lua('vim.bo.autoindent = false; vim.bo.indentexpr = ""; vim.bo.indentkeys = ""')
        local before = e:text()
        e:type(try[2])
        local found = vim.wait(2500, function()
          return e:ghost() ~= nil
        end, 20)
        if found then
          local ghost = h.ghost(e)
          if ghost:find('\n') then
            h.check(e:ghost().row == #e:lines() - 1, 'the row')
            e:input('<Tab>')
            e:wait_text(before .. try[2] .. ghost)
            local lines = e:lines()
            h.equal(e:lua('return vim.api.nvim_win_get_cursor(0)'), { #lines, #lines[#lines] }, 'cursor')
            return
          end
        end
      end
      error('no suggestion of several lines')
    end,
  },
  {
    name = 'tabs, wide characters and emoji before the cursor',
    with = all,
    files = {
      ['main.go'] = 'package main\n\nimport "fmt"\n\nfunc main() {\n\tnaïve := "数据 😀"\n\tfmt.Println(naïve)\n',
    },
    open = 'main.go',
    run = function(e)
      local before = e:text()
      at_end(e)
      e:type('\t/* 😀 é数 */ fmt.')
      local typed = e:wait('the typed text', function()
        return e:text():find('fmt%.$') and e:text()
      end)
      h.equal(typed, before .. '\t/* 😀 é数 */ fmt.', 'text')
      local ghost = h.ghost(e)
      e:input('<Tab>')
      e:wait_text(typed .. ghost)
    end,
  },
  {
    name = 'dismiss hides until the text changes',
    with = { 'plugin' },
    files = { ['main.py'] = stack },
    run = function(e)
      local ghost = suggest(e, '        return self')
      e:input('<C-]>')
      e:wait('no ghost', function()
        return e:ghost() == nil
      end)
      e:type(ghost:sub(1, 1))
      e:wait_ghost()
      h.equal(e:text(), stack .. '        return self' .. ghost:sub(1, 1), 'text')
    end,
  },
  {
    name = 'dismiss where Neovim draws',
    with = { 'plugin_core' },
    files = { ['main.py'] = stack },
    run = function(e)
      suggest(e, '        return self')
      e:input('<C-]>')
      e:wait('no ghost', function()
        return e:ghost() == nil
      end)
      h.equal(e:text(), stack .. '        return self', 'text')
    end,
  },
  {
    name = 'ask for several and choose',
    with = { 'plugin' },
    files = { ['main.py'] = stack },
    run = function(e)
      -- How many differ from each other is up to the model: try until there are some.
      local before
      for _, typed in ipairs({ 'x = ', 'def ', 'import ', 'for ', 'stack = ', 'class ' }) do
        e:input('<Esc>:edit!<CR>')
        at_end(e)
        before = stack .. typed
        e:type(typed)
        e:wait_text(before)
        e:settle()
        e:lua('wire.requests, wire.partials = {}, {}')
        e:input('<M-\\>')
        e:wait('the answer', 'return #wire.replies() > 0')
        if #h.last_reply(e).items > 1 then
          break
        end
      end
      h.equal(h.last_reply(e).params.context.triggerKind, 1, 'triggerKind')
      e:settle()
      local reply = h.last_reply(e)
      h.check(#reply.items > 1, 'never more than one candidate')
      h.equal(e:ghost().text, reply.items[1].insertText, 'first')
      e:input('<M-n>')
      e:wait('the second', function()
        return e:ghost().text == reply.items[2].insertText
      end)
      e:input('<M-p><M-p>')
      e:wait('the last', function()
        return e:ghost().text == reply.items[#reply.items].insertText
      end)
      e:input('<Tab>')
      e:wait_text(before .. reply.items[#reply.items].insertText)
    end,
  },
  {
    name = 'closed brackets are not doubled',
    with = { 'plugin', 'core' },
    files = { ['main.py'] = 'values = [3, 1, 2]\n' },
    before = [[vim.keymap.set('i', '(', '()<Left>')]],
    run = function(e)
      at_end(e)
      e:type('total = sum(')
      e:wait_text('values = [3, 1, 2]\ntotal = sum()')
      e:wait_ghost()
      e:settle()
      local offer = h.offered(e)
      e:input('<Tab>')
      e:wait_text('values = [3, 1, 2]\n' .. offer.head .. offer.text .. offer.rest)
      local line = e:lines()[2]
      local _, opened = line:gsub('%(', '')
      local _, closed = line:gsub('%)', '')
      h.equal(closed, opened, 'closed brackets in ' .. line)
    end,
  },
  {
    name = 'nothing of one buffer shows in another',
    with = ours,
    files = { ['main.py'] = stack, ['other.py'] = stack },
    run = function(e)
      suggest(e, '        return self.')
      e:edit('other.py')
      e:wait('a buffer without ghost text', function()
        return e:ghost() == nil
      end)
      e:input('<Esc>')
      local ghost = suggest(e, '        item = self.')
      e:input('<Tab>')
      e:wait_text(stack .. '        item = self.' .. ghost)
      e:lua('vim.cmd("stopinsert | buffer main.py")')
      h.equal(e:text(), stack .. '        return self.', 'the first buffer')
      e:wait('normal mode without ghost text', function()
        return e:ghost() == nil
      end)
    end,
  },
}
